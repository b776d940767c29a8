"""A folder with models and a recipe, and the one way in which every mistake must end there."""

import hashlib
import re
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..cli.run import Ran, run

WEIGHTS = "model.safetensors"
#: A merge of two models that is right.
LINEAR = "merge_method: linear\nmodels:\n  - {model: one, parameters: {weight: 1}}\n  - {model: two, parameters: {weight: 1}}\n"
TIES = "merge_method: ties\nbase_model: base\nmodels:\n  - {model: one, parameters: {weight: 1}}\n  - {model: two, parameters: {weight: 1}}\n"
SLERP = "merge_method: slerp\nbase_model: one\nmodels: [{model: one}, {model: two}]\n"


def everything(folder: Path) -> dict[str, str]:
    """Every path below a folder, hidden ones too -> the digest of its bytes, where a link leads, or `folder`."""
    return {str(path.relative_to(folder)): _state(path) for path in sorted(folder.rglob("*"))}


def _state(path: Path) -> str:
    if path.is_symlink():
        return f"link to {path.readlink()}"
    if path.is_dir():
        return "folder"
    now = path.stat()
    if now.st_size > 2**28:  # a hole: what was written into it shows in its blocks and its time
        return f"{now.st_size} {now.st_blocks} {now.st_mtime_ns}"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def told(ran: Ran, says: str, code: int = 2) -> None:
    """A command ended with this code and one message that begins with `error:` and matches `says`."""
    assert ran.code == code, ran
    assert re.fullmatch(r"error: [^\n]+\n", ran.err), ran.err
    assert re.search(says, ran.err), ran.err


def refused(capsys: pytest.CaptureFixture[str], *arguments: object, says: str) -> None:
    """The command ends with 2 and one message that matches `says`; no byte below the working folder has changed."""
    before = everything(Path.cwd())
    ran = run(capsys, *arguments)
    told(ran, says)
    assert ran.out == ""
    assert everything(Path.cwd()) == before


def recipe(text: str) -> str:
    """The name of a recipe file with this text."""
    Path("r.yaml").write_text(text)
    return "r.yaml"


def merged(capsys: pytest.CaptureFixture[str], text: str, *options: object, out: str = "out") -> Ran:
    """A merge that must succeed."""
    ran = run(capsys, "merge", recipe(text), out, *options)
    assert ran.code == 0, ran.err
    return ran


def same(found: Tensor, wanted: Tensor) -> bool:
    """Equal but for the rounding of float32 sums of a few numbers around 1."""
    return found.shape == wanted.shape and bool(((found.double() - wanted.double()).abs() <= 2**-22).all())


def tensors(folder: str) -> dict[str, Tensor]:
    """What one weight file of a folder holds."""
    return load_file(Path(folder) / WEIGHTS)


def change(folder: str, **tensors_: Tensor | None) -> None:
    """Set tensors of a model, or take them away; `__` in a name stands for a dot."""
    found = load_file(Path(folder) / WEIGHTS)
    for name, tensor in tensors_.items():
        found.pop(name.replace("__", "."), None)
        found |= {} if tensor is None else {name.replace("__", "."): tensor}
    save_file(found, Path(folder) / WEIGHTS, {"format": "pt"})
