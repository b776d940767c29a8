"""The pieces of a sentencepiece `.model`, read without any library: enough to see whether two models number them alike.

The file is a protocol buffer `ModelProto` whose field 1, repeated, is a `SentencePiece`; its field 1 is the text
(https://github.com/google/sentencepiece, src/sentencepiece_model.proto). A piece's number is its place.
"""

from collections.abc import Iterator
from pathlib import Path

from ..errors import BrokenFile

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5


def pieces(path: Path) -> dict[str, int]:
    """Piece -> number.

    Raises:
        BrokenFile: the file is not a sentencepiece model.
    """
    try:
        parts = [_text(piece) for field, piece in _fields(path.read_bytes()) if field == 1]
    except (ValueError, IndexError) as error:
        raise BrokenFile(f"{path}: not a sentencepiece model: {error}.") from error
    if not parts:
        raise BrokenFile(f"{path}: a sentencepiece model without pieces.")
    return {piece: number for number, piece in enumerate(parts)}


def _text(piece: bytes) -> str:
    return next((value.decode() for field, value in _fields(piece) if field == 1), "")


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, content) of the fields that hold bytes; others are stepped over."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == _BYTES:
            size, at = _varint(data, at)
            if at + size > len(data):
                raise ValueError(f"a field of {size} bytes at {at} reaches beyond the end")
            yield key >> 3, data[at : at + size]
            at += size
        elif kind == _VARINT:
            _, at = _varint(data, at)
        elif kind in (_EIGHT, _FOUR):
            at += 8 if kind == _EIGHT else 4
        else:
            raise ValueError(f"a field of unknown kind {kind} at {at}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
