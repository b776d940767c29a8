"""What loading and reading cost: headers only, no descriptors, no private memory, no copies."""

import mmap
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import loomweight as lw
from loomweight import errors
from loomweight.weights.spec import spans

from .files import entry, sparse

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
GIB = 1 << 30


def mapped(folder: Path) -> set[str]:
    """Files of the folder that this process has mapped."""
    return {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if str(folder) in line}


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def bytes_read(act: Callable[[], object]) -> int:
    """Bytes that this process asked the system to read meanwhile."""
    before = _asked()
    act()
    return _asked() - before


def private() -> int:
    """RssAnon in bytes: memory that is this process's own."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def _asked() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.fixture
def hundred(tmp_path: Path) -> Path:
    """100 shards of 1 GiB each, all holes."""
    for at in range(1, 101):
        sparse(tmp_path / f"model-{at:05}-of-00100.safetensors", {f"layers.{at}.weight": entry("BF16", [GIB // 2], 0, GIB)}, GIB)
    return tmp_path


def test_a_hundred_shards_are_loaded_by_their_headers(hundred: Path) -> None:
    before = descriptors()
    assert bytes_read(lambda: lw.load(hundred)) < 100 * 1024
    loaded = lw.load(hundred)
    assert loaded.nbytes == 100 * GIB and not mapped(hundred) and descriptors() == before
    for name in loaded:
        assert loaded.open(name)(GIB // 4, GIB // 4 + 3).tolist() == [0, 0, 0]
    assert len(mapped(hundred)) == 100 and descriptors() == before


def test_the_measures_can_see(tmp_path: Path) -> None:
    """The twin: plain reading is seen as reading, an open file as a descriptor, ordinary memory as private."""
    path = tmp_path / "x"
    path.write_bytes(bytes(1 << 20))
    before = descriptors()
    with path.open("rb") as file:
        assert bytes_read(file.read) >= 1 << 20 and descriptors() == before + 1
    before = private()
    with mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as fresh:  # the allocator might hand out pages that it has kept
        torch.frombuffer(fresh, dtype=torch.uint8).fill_(1)
        assert private() - before > 60 << 20


def test_reading_takes_no_private_memory(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(1 << 26, dtype=torch.bfloat16)}, tmp_path / "x.safetensors")
    loaded = lw.load(tmp_path / "x.safetensors")
    block, before = loaded.open("w"), private()
    for lo, hi in spans(1 << 26):
        assert not block(lo, hi).to(torch.float32).any()
    assert private() - before < 8 << 20
    assert loaded["w"].data_ptr() == block(0, 1).data_ptr()


@pytest.mark.skipif(
    not Path("/proc/sys/vm/overcommit_memory").exists() or Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "2", reason="no overcommit"
)
def test_a_file_larger_than_the_memory_is_read(tmp_path: Path) -> None:
    size = 4 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    path = sparse(tmp_path / "x.safetensors", {"w": entry("U8", [size], 0, size)}, size)
    with path.open("rb") as file, pytest.raises(OSError, match="allocate"):
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # the plain private mapping is refused
    assert lw.load(path).open("w")(size // 2, size // 2 + 2).tolist() == [0, 0]


def test_a_write_into_a_view_never_reaches_the_file(tmp_path: Path) -> None:
    save_file({"w": torch.ones(4)}, tmp_path / "x.safetensors")
    before = (tmp_path / "x.safetensors").read_bytes()
    lw.load(tmp_path / "x.safetensors")["w"].zero_()
    assert (tmp_path / "x.safetensors").read_bytes() == before and lw.load(tmp_path / "x.safetensors")["w"].tolist() == [1] * 4


def test_a_tensor_outlives_its_set(tmp_path: Path) -> None:
    save_file({"w": torch.arange(1000.0)}, tmp_path / "x.safetensors")
    tensor = lw.load(tmp_path / "x.safetensors")["w"]
    (tmp_path / "x.safetensors").unlink()
    assert tensor.sum().item() == 499500


def test_threads_read_the_same(tmp_path: Path) -> None:
    tensors = {f"{i}": torch.full((1000,), float(i)) for i in range(50)}
    save_file(tensors, tmp_path / "x.safetensors")
    loaded = lw.load(tmp_path / "x.safetensors")
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda name: loaded[name].sum().item(), loaded)) == [1000.0 * i for i in range(50)]


@pytest.mark.parametrize("name", ["x.safetensors", "x.pt"])
def test_a_file_that_changed_since_is_refused(tmp_path: Path, name: str) -> None:
    write = save_file if name == "x.safetensors" else torch.save
    write({"w": torch.ones(4)}, tmp_path / name)
    loaded = lw.load(tmp_path / name)
    write({"w": torch.ones(5)}, tmp_path / name)
    with pytest.raises(errors.BrokenFile, match="changed since it was loaded"):
        loaded["w"]
    (tmp_path / name).unlink()
    with pytest.raises(errors.BrokenFile, match="No such file"):
        loaded["w"]


@pytest.mark.parametrize("name", ["x.safetensors", "x.pt"])
def test_a_file_shortened_between_two_blocks_is_refused(tmp_path: Path, name: str) -> None:
    """Another process cuts it: touching what was mapped there would end this one (SIGBUS)."""
    write = save_file if name == "x.safetensors" else torch.save
    write({"w": torch.ones(1 << 21, dtype=torch.bfloat16)}, tmp_path / name)
    block = lw.load(tmp_path / name).open("w")
    assert block(0, 1 << 7).sum() == 1 << 7
    os.truncate(tmp_path / name, 1 << 12)
    with pytest.raises(errors.BrokenFile, match=rf"{name}: the file has changed since it was loaded"):
        block(1 << 20, (1 << 20) + 8)
