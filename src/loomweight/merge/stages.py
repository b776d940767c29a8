"""What `loomweight merge` does besides merging: unite vocabularies, check the config, write the side files."""

from collections.abc import Mapping

from .config_of_result import honest
from .plan import Plan
from .run import Stages
from .side_files import side_files
from .vocabulary_check import same_vocabularies
from .vocabulary_files import check_vocabulary, with_vocabulary
from .vocabulary_unite import notes, unite


def beside(plan: Plan) -> Mapping[str, bytes]:
    """All files of an output folder besides the weights."""
    return with_vocabulary(plan, side_files(plan))


STAGES = Stages(prepare=unite, checks=(honest, same_vocabularies, check_vocabulary), beside=beside, notes=notes)
