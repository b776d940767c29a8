"""Tensors packed as several: names with a mark, bits side by side, and checks of what a stranger sends."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ...errors import BadReply
from ..plain import Tensors

_SHIFTS = {bits: torch.arange(0, 8, bits, dtype=torch.uint8) for bits in (1, 2, 4, 8)}


def parted(packed: Tensors, marks: Sequence[str], like: Mapping[str, Tensor], optional: str = "") -> tuple[dict[str, Tensors], Tensors]:
    """What is packed, by the name of the tensor and then by mark, and the rest.

    Args:
        packed: with names such as `w:indices`.
        marks: of which each packed tensor has all.
        like: names that a tensor may have been packed under.
        optional: a mark that may lack.

    Raises:
        BadReply: a mark lacks, or a tensor is there packed and unpacked, or a floating one of `like` unpacked alone.

    >>> parted({"w:a": torch.ones(1), "n": torch.tensor(1)}, ["a"], {"w": torch.ones(1), "n": torch.tensor(1)})
    ({'w': {'a': tensor([1.])}}, {'n': tensor(1)})
    """
    found: dict[str, Tensors] = {}
    rest: Tensors = {}
    for name, tensor in packed.items():
        base, _, mark = name.rpartition(":")
        if base and mark in (*marks, optional):
            found.setdefault(base, {})[mark] = tensor
        else:
            rest[name] = tensor
    for base, parts in found.items():
        lacking = [mark for mark in marks if mark not in parts]
        if lacking or base in rest:
            raise BadReply(f"tensor {base!r} is packed without its {lacking[0]}." if lacking else f"tensor {base!r} is there packed and unpacked.")
    plain = [name for name, tensor in rest.items() if name in like and like[name].is_floating_point()]
    if plain:
        raise BadReply(f"tensor {plain[0]!r} is not packed.")
    return found, rest


def packed_bits(codes: Tensor, bits: int) -> Tensor:
    """Codes of 1, 2, 4 or 8 bits, side by side in bytes, the first in the lowest bits.

    >>> packed_bits(torch.tensor([1, 0, 1], dtype=torch.uint8), 1)
    tensor([5], dtype=torch.uint8)
    """
    shifts = _SHIFTS[bits]
    padded = torch.nn.functional.pad(codes.flatten(), (0, -codes.numel() % len(shifts)))
    return (padded.reshape(-1, len(shifts)) << shifts).sum(1, dtype=torch.uint8)


def unpacked_bits(packed: Tensor, bits: int, count: int, name: str) -> Tensor:
    """That many codes.

    Raises:
        BadReply: the tensor is of another type or length.

    >>> unpacked_bits(torch.tensor([5], dtype=torch.uint8), 1, 3, "w")
    tensor([1, 0, 1], dtype=torch.uint8)
    """
    shifts = _SHIFTS[bits]
    checked(packed, name, (torch.uint8,), -(-count // len(shifts)))
    return ((packed[:, None] >> shifts) & (2**bits - 1)).flatten()[:count]


def checked(tensor: Tensor, name: str, dtypes: Sequence[torch.dtype], length: int | None = None) -> Tensor:
    """The tensor, if it has one axis of that length and one of these types.

    Raises:
        BadReply: otherwise.
    """
    if tensor.dtype not in dtypes or tensor.ndim != 1 or (length is not None and len(tensor) != length) or tensor.layout != torch.strided:
        wanted = f"{'any number of' if length is None else length} {' or '.join(str(dtype).removeprefix('torch.') for dtype in dtypes)}"
        raise BadReply(f"tensor {name!r} is packed with {list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}, expected {wanted} in one axis.")
    return tensor


def scale_of(tensor: Tensor, name: str) -> float:
    """One finite number of at least 0.

    Raises:
        BadReply: it is not.
    """
    scale = float(checked(tensor, name, (torch.float32,), 1))
    if not 0 <= scale < float("inf"):
        raise BadReply(f"tensor {name!r} is packed with the scale {scale}, expected a finite number of at least 0.")
    return scale


#: the types that values may have
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def shape_and_type(name: str, parts: Tensors, like: Mapping[str, Tensor], largest: int) -> tuple[tuple[int, ...], torch.dtype]:
    """What a packed tensor becomes: like the server's of its name, or, where another part made it, a float32 of as many entries as it says.

    Args:
        name: of the tensor.
        parts: its packed tensors; `count` among them where the server has none of its name.
        like: the server's tensors.
        largest: the most entries that the packed tensors can hold.

    Raises:
        BadReply: the count lacks, or is none.
    """
    if name in like:
        if "count" in parts or not like[name].is_floating_point():
            raise BadReply(f"tensor {name!r} is packed, though the server has another of its name.")
        return tuple(like[name].shape), like[name].dtype
    if "count" not in parts:
        raise BadReply(f"tensor {name!r} is packed, and the server has none of its name.")
    count = int(checked(parts["count"], name, (torch.int64,), 1))
    if not 0 <= count <= largest:
        raise BadReply(f"tensor {name!r} is packed as {count} entries, and holds {largest} at most.")
    return (count,), torch.float32


def counted(name: str, tensor: Tensor, known: Mapping[str, Tensor]) -> Tensors:
    """The number of entries, for a tensor that another part made: the server cannot know it."""
    return {} if name in known else {f"{name}:count": torch.tensor([tensor.numel()])}
