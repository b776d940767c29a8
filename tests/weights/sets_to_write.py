"""What the tests of writing write: sets of all dtypes, small grids of blocks, and a look at what came out."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor

from loomweight.weights import segments
from loomweight.weights.layout import CODES

SHAPES = [(), (0,), (1,), (5,), (2, 3), (0, 4), (3, 3, 3), (40,), (7, 11)]
DTYPES = [dtype for dtype in CODES if CODES[dtype] != "F4"]


def bits(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def noise(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    """Any bits: NaN and Inf too, which a copy must keep."""
    count = torch.Size(shape).numel() * dtype.itemsize
    top = 2 if dtype == torch.bool else 256
    raw = torch.randint(0, top, (count,), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return raw.view(dtype).reshape(shape)


@st.composite
def state_dicts(draw: st.DrawFn) -> dict[str, Tensor]:
    names = draw(st.lists(st.sampled_from([f"layers.{i}.{w}" for i in range(3) for w in ("up", "down", "é\n")] + ["lm_head"]), unique=True, max_size=8))
    return {name: noise(draw(st.sampled_from(SHAPES)), draw(st.sampled_from(DTYPES)), draw(st.integers(0, 999))) for name in names}


@contextmanager
def small_grid(block: int = 4, segment: int = 8, handful: int = 24) -> Iterator[None]:
    """Blocks of a few entries, so that small tensors have many segments."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("BLOCK", block), ("SEGMENT", segment), ("_HANDFUL", handful)):
            patch.setattr(segments, name, value)
        yield


def written(path: Path) -> dict[str, bytes]:
    """Name -> bytes of every stored tensor, through the readers of safetensors; a folder's index must tell the truth."""
    if path.is_file():
        return _stored(path)
    index = path / "model.safetensors.index.json"
    if not index.exists():
        return _stored(path / "model.safetensors")
    table = json.loads(index.read_text())
    found = {file: _stored(path / file) for file in sorted(set(table["weight_map"].values()))}
    assert {name: file for file, tensors in found.items() for name in tensors} == table["weight_map"]
    assert sorted(found) == sorted(file.name for file in path.glob("*.safetensors"))
    assert table["metadata"]["total_size"] == sum(len(data) for tensors in found.values() for data in tensors.values())
    return {name: data for tensors in found.values() for name, data in tensors.items()}


def _stored(file: Path) -> dict[str, bytes]:
    with safe_open(file, "pt") as opened:
        return {name: bits(opened.get_tensor(name)) for name in opened.keys()}  # noqa: SIM118
