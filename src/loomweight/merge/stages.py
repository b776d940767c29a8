"""What `loomweight merge` does besides merging: unite vocabularies, check the config, write the side files."""

from collections.abc import Mapping

from ..weights import Weights
from .aligned import align_notes, aligned
from .chat_template import template_notes
from .config_of_result import honest
from .plan import Plan
from .recipe import Recipe
from .run import Stages
from .side_files import side_files
from .vocabulary_check import same_vocabularies
from .vocabulary_files import check_vocabulary, with_vocabulary
from .vocabulary_unite import notes as notes_on_tokens
from .vocabulary_unite import unite


def beside(plan: Plan) -> Mapping[str, bytes]:
    """All files of an output folder besides the weights."""
    return with_vocabulary(plan, side_files(plan))


def notes(recipe: Recipe, inputs: Mapping[str, Weights]) -> tuple[str, ...]:
    """All that deserves a word."""
    return (*align_notes(recipe, inputs), *notes_on_tokens(recipe, inputs), *template_notes(recipe))


def prepare(recipe: Recipe, inputs: dict[str, Weights]) -> dict[str, Weights]:
    """The models over one vocabulary, in one order of units."""
    return aligned(recipe, unite(recipe, inputs))


STAGES = Stages(prepare=prepare, checks=(honest, same_vocabularies, check_vocabulary), beside=beside, notes=notes)
