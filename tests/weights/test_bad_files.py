"""Damaged safetensors files: each has a message with the file, the tensor, what was found and what to do."""

import json
import struct
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file, save

import loomweight as lw
from loomweight import errors

from .files import bits, entry, sparse, write

GOOD = entry("F32", [2], 0, 8)

#: header, bytes of data, words of the message. All of these safetensors itself refuses, too (but the two marked).
BAD: dict[str, tuple[dict[str, Any] | bytes, int, str]] = {
    "truncated": ({"a": GOOD, "b": entry("F32", [2], 8, 16)}, 12, r"tensor 'b' ends at byte \d+, but the file has \d+: it is truncated"),
    "too long": ({"a": GOOD}, 9, r"1 bytes after the last tensor belong to no tensor"),
    "overlap": ({"a": GOOD, "b": entry("F32", [2], 4, 12)}, 12, r"tensors 'a' and 'b' overlap at byte \d+"),
    "hole": ({"a": GOOD, "b": entry("F32", [2], 12, 20)}, 20, r"4 bytes before tensor 'b' belong to no tensor"),
    "negative offset": ({"a": entry("F32", [2], -8, 0)}, 8, r"tensor 'a': data_offsets must satisfy 0 <= start <= stop, found \[-8, 0\]"),
    "offsets reversed": ({"a": entry("F32", [2], 8, 0)}, 8, r"tensor 'a': data_offsets must satisfy"),
    "offset of the wrong kind": ({"a": entry("F32", [2], 0, 8.0)}, 8, r"tensor 'a': data_offsets must be two whole numbers, found \[0, 8\.0\]"),
    "three offsets": ({"a": GOOD | {"data_offsets": [0, 4, 8]}}, 8, r"tensor 'a': data_offsets must be two whole numbers"),
    "size at odds with shape": ({"a": entry("F32", [3], 0, 8)}, 8, r"tensor 'a': F32 of shape \(3,\) needs 12 bytes, its data_offsets hold 8"),
    "negative shape": ({"a": entry("F32", [-1, -2], 0, 8)}, 8, r"tensor 'a': the shape must be a list of at most 64 whole numbers from 0, found \[-1, -2\]"),
    "shape of the wrong kind": ({"a": entry("F32", [2.0], 0, 8)}, 8, r"tensor 'a': the shape must be"),
    "shape beyond any memory": ({"a": entry("F32", [1 << 40, 1 << 40, 0], 0, 0)}, 0, r"tensor 'a': the shape .* more entries than any memory"),
    "unknown dtype": ({"a": entry("F33", [2], 0, 8)}, 8, r"tensor 'a': unknown dtype 'F33'; known: F64, F32"),
    "half a pair": ({"a": entry("F4", [3], 0, 2)}, 2, r"tensor 'a': F4 packs two entries a byte"),
    "no shape": ({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, 8, r"tensor 'a': expected dtype, shape and data_offsets, found"),
    "a tensor that is no object": ({"a": 3}, 0, r"tensor 'a': expected dtype, shape and data_offsets, found '3'"),
    "metadata that are no words": ({"__metadata__": {"a": 1}, "a": GOOD}, 8, r"__metadata__ must map words to words"),
    "not JSON": (b"this is no header", 0, r"the safetensors header: not valid JSON"),
    "not an object": (b"[1, 2]", 0, r"the safetensors header: expected a JSON object, found a list"),
    "not UTF-8": (b'{"\xff": 1}', 0, r"the safetensors header: not valid JSON: 'utf-8'"),
    "half a letter": (b'{"\\ud800": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}', 8, r"the name is not valid Unicode"),
    "nested without end": (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 0, r"nested too deeply"),
    "a number without end": (b'{"a": ' + b"9" * 100_000 + b"}", 0, r"not valid JSON"),
    "duplicate": (b'{"a": %b, "a": %b}' % ((json.dumps(GOOD).encode(),) * 2), 8, r"the name 'a' stands twice"),
}
LENIENT = {"duplicate", "shape beyond any memory"}


@pytest.mark.parametrize("case", BAD)
def test_a_damaged_header_is_described(case: str, tmp_path: Path) -> None:
    header, size, message = BAD[case]
    path = write(tmp_path / "broken.safetensors", header, bytes(size))
    with pytest.raises(errors.BrokenFile, match=r"^/.*broken\.safetensors: .*" + message):
        lw.load(path)
    if case not in LENIENT:
        with pytest.raises((SafetensorError, RuntimeError)):
            load_file(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes are no safetensors file"),
        (b"1234567", "7 bytes are no safetensors file"),
        (struct.pack("<Q", 2 << 30) + b"{}", "the header claims 2147483648 bytes, the format allows 100000000"),
        (struct.pack("<Q", (1 << 64) - 1) + b"{}", "the header claims 18446744073709551615 bytes"),
        (struct.pack("<Q", 3) + b"{}", "the header claims 3 bytes, but the file ends 2 bytes after its length"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n", "the header claims"),
    ],
)
def test_a_length_that_cannot_be(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(errors.BrokenFile, match=message):
        lw.load(tmp_path / "x.safetensors")


def test_a_header_of_two_gigabytes_is_not_read(tmp_path: Path) -> None:
    path = sparse(tmp_path / "x.safetensors", {}, 3 << 30)
    with path.open("r+b") as file:
        file.write(struct.pack("<Q", 2 << 30))
    with pytest.raises(errors.BrokenFile, match="the format allows"):
        lw.load(path)


WHOLE = save({"a": torch.arange(3.0), "b.c": torch.ones(2, 2, dtype=torch.bfloat16), "n": torch.tensor(7)}, {"format": "pt", "d": "a"})
HEADER = 8 + int.from_bytes(WHOLE[:8], "little")


def outcome(content: bytes) -> str:
    """`loaded` where every tensor can be read, or the error's class; anything else that is raised passes through."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        path.write_bytes(content)
        try:
            loaded = lw.load(path)
        except errors.LoomweightError as error:
            return type(error).__name__
        for name in loaded:
            assert len(bits(loaded[name])) == loaded.spec[name].nbytes
        return "loaded"


@given(at=st.integers(0, HEADER - 1), byte=st.integers(0, 255))
def test_a_byte_of_the_header_changed(at: int, byte: int) -> None:
    content = bytearray(WHOLE)
    content[at] = byte
    assert outcome(bytes(content)) in ("loaded", "BrokenFile")


@given(stop=st.integers(0, len(WHOLE) - 1))
def test_a_file_cut_short_is_never_loaded(stop: int) -> None:
    assert outcome(WHOLE[:stop]) == "BrokenFile"


@given(at=st.integers(8, HEADER), more=st.binary(min_size=1, max_size=6), drop=st.integers(0, 6))
def test_bytes_of_the_header_replaced(at: int, more: bytes, drop: int) -> None:
    raw = WHOLE[8:HEADER]
    raw = raw[: at - 8] + more + raw[at - 8 + drop :]
    assert outcome(struct.pack("<Q", len(raw)) + raw + WHOLE[HEADER:]) in ("loaded", "BrokenFile")


_json = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4), lambda some: st.lists(some, max_size=3), max_leaves=5)


@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "__metadata__"]),
        st.fixed_dictionaries({}, optional={"dtype": st.sampled_from(["F32", "F4", 1]), "shape": _json, "data_offsets": _json}) | _json,
    )
)
def test_any_json_as_a_header(header: dict[str, Any]) -> None:
    assert outcome(struct.pack("<Q", len(raw := json.dumps(header).encode())) + raw) in ("loaded", "BrokenFile")


def test_the_fuzzed_file_itself_is_whole() -> None:
    """The twin: unchanged, it loads, with its tie."""
    assert outcome(WHOLE) == "loaded"
