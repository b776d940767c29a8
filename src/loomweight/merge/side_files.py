"""The files that go with the weights: config, tokenizer, processors, taken from the reference model, and the model card."""

import json
import re
from fnmatch import fnmatch
from pathlib import Path

from ..errors import LoomweightError
from .card import card
from .config_of_result import config_of_result
from .inputs import home
from .plan import Plan

#: what is copied as it is, by name inside the reference model's folder
COPIED = (
    "generation_config.json", "tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model", "*.tiktoken",
    "chat_template*", "preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json", "modules.json",
    "sentence_bert_config.json", "config_sentence_transformers.json", "*_*/config.json", "normalizer.json", "LICENSE*", "NOTICE*", "*.py",
)  # fmt: skip
_MOST = 256 * 2**20


def side_files(plan: Plan) -> dict[str, bytes]:
    """name -> content: the copied files, `config.json` made true for the result, `README.md` and `loomweight.yaml`.

    A reference without a folder of its own (a single file, weights in memory) has none to copy.

    Raises:
        BrokenFile: the reference's config is not JSON.
        RecipeError: the depth changed and the config does not say in one place how deep the model is.
    """
    folder = reference_folder(plan)
    found = copied(folder) if folder else {}
    config = config_of_result(plan, folder) if folder else None
    if config is not None:
        found["config.json"] = (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode()
    found["loomweight.yaml"] = without_local_paths(plan.recipe.text).encode()
    found["README.md"] = card(plan, without_local_paths).encode()
    return found


def reference_folder(plan: Plan) -> Path | None:
    """The folder of the model whose config and tokenizer the result takes after."""
    from ..weights.locate import locate

    try:
        found = locate(home(plan.recipe, plan.recipe.reference))
    except LoomweightError:
        return None
    if found.is_dir():
        return found
    return found.parent if (found.parent / "config.json").exists() else None


def without_local_paths(text: str) -> str:
    """Absolute paths cut down to their last part: a card is published, a home folder is not.

    >>> without_local_paths("model: /home/me/models/base+/data/lora\\nbase: org/name")
    'model: base+lora\\nbase: org/name'
    """
    return re.sub(r"(?<![\w.:/-])(?:~|[A-Za-z]:)?[/\\](?:[^/\\\s'\"+,\]}]+[/\\])*([^/\\\s'\"+,\]}]+)", r"\1", text)


def copied(folder: Path) -> dict[str, bytes]:
    """name -> content of the files beside the weights that a merged or fused model takes along; `config.json` is not among them."""

    def wanted(name: str) -> bool:
        return any(fnmatch(name, pattern) and name.count("/") == pattern.count("/") for pattern in COPIED)

    files = {path.relative_to(folder).as_posix(): path for path in [*folder.glob("*"), *folder.glob("*/*")] if path.is_file()}
    return {name: path.read_bytes() for name, path in sorted(files.items()) if wanted(name) and path.stat().st_size <= _MOST}
