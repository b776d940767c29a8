"""The running state of a collection on disk: a safetensors file that appears whole or not at all."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import BadParameter, BrokenFile
from ..weights import save


def place(path: str | Path) -> Path:
    """The path of a running state.

    Raises:
        BadParameter: it does not end in `.safetensors`.
    """
    if Path(path).suffix != ".safetensors":
        raise BadParameter(f"a running state is a safetensors file, so its name ends in .safetensors; found {str(path)!r}.")
    return Path(path)


def keep(path: Path, sums: dict[str, Tensor], words: dict[str, str]) -> None:
    """Replace the file by one with these tensors and words, in one step.

    Raises:
        OutputError: it cannot be written there.
    """
    save(sums, path, metadata=words, overwrite=True)


def kept(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and words of a file that `keep` wrote.

    Raises:
        BrokenFile: it is none.
    """
    try:
        with safe_open(path, framework="pt") as file:
            words = dict(file.metadata() or {})
            sums = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise BrokenFile(f"{path} is no running state of a collection ({error}); remove it to begin anew.") from error
    if missing := {"key", "examples", "batches", "seen"} - words.keys():
        raise BrokenFile(f"{path} is no running state of a collection: it lacks {', '.join(sorted(missing))}; name another file.")
    return sums, words
