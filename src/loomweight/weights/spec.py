"""What is known of a tensor before its data is read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ..errors import Overflow

#: A tensor opened for reading: flat entries [lo, hi) as a 1-D tensor. It may be a view of the input: never write into it.
Block = Callable[[int, int], Tensor]

#: Entries handled at once: 1 MiB of float32. Two of them fit the L2 cache of a core; half of it costs less in one thread and more in two, which
#: then wait for the interpreter's lock after every short call (bench/pointwise.py --threads 1,2).
BLOCK = 1 << 18


#: Dtypes that are floating by name and are codes: pairs of 4-bit numbers in one byte, and the exponents that scale blocks of them.
CODED = frozenset(getattr(torch, name) for name in ("float4_e2m1fn_x2", "float8_e8m0fnu") if hasattr(torch, name))


@dataclass(frozen=True)
class Spec:
    """Shape and dtype of one tensor.

    >>> Spec((2, 3), torch.bfloat16).nbytes
    12
    """

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def numel(self) -> int:
        """Number of entries; 1 for a scalar."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the entries when stored."""
        return self.numel * self.dtype.itemsize

    @property
    def averages(self) -> bool:
        """True for floating dtypes that have an arithmetic; integers, booleans and codes of quantised weights are never averaged."""
        return self.dtype.is_floating_point and self.dtype not in CODED

    @property
    def work(self) -> torch.dtype:
        """The dtype of arithmetic on it: float64 stays float64, every other floating dtype is worked on in float32."""
        if not self.averages:
            return self.dtype
        return torch.float64 if self.dtype == torch.float64 else torch.float32


def spans(numel: int, size: int = BLOCK) -> Iterator[tuple[int, int]]:
    """Cut [0, numel) into consecutive spans of at most `size` entries, always on the same grid.

    >>> list(spans(5, 2))
    [(0, 2), (2, 4), (4, 5)]
    """
    for lo in range(0, numel, size):
        yield lo, min(lo + size, numel)


def comparable(entries: Tensor) -> Tensor:
    """The entries, codes of quantised weights as the bytes that they are: torch can neither compare nor count those.

    >>> comparable(torch.tensor([1, 2], dtype=torch.uint8).view(torch.float8_e8m0fnu))
    tensor([1, 2], dtype=torch.uint8)
    """
    return entries.view(torch.uint8) if entries.dtype in CODED else entries


def cast(entries: Tensor, dtype: torch.dtype, name: str) -> Tensor:
    """Round once to `dtype`, half to even; a finite value that does not fit raises `Overflow` with the tensor's name.

    NaN and Inf stay what they are, where the dtype has them.
    """
    if entries.dtype == dtype:
        return entries
    if not dtype.is_floating_point or not entries.dtype.is_floating_point or torch.finfo(entries.dtype).max <= torch.finfo(dtype).max:
        return entries.to(dtype)
    entries = entries if entries.dtype.itemsize > 1 else entries.float()
    if entries.numel():
        _check_fits(entries, dtype, name)
    if entries.dtype == torch.float64 and dtype != torch.float32:
        entries = _odd(entries)
    return entries.to(dtype)


def _check_fits(entries: Tensor, dtype: torch.dtype, name: str) -> None:
    limit = torch.finfo(dtype).max
    low, high = torch.aminmax(entries)
    if -limit <= low.item() and high.item() <= limit:
        return
    suspects = entries[entries.isfinite()] if torch.tensor(torch.inf).to(dtype).float().isinf() else entries[~entries.isnan()]
    if suspects.numel() and (lost := suspects.abs().max().item()) > limit:
        raise Overflow(f"tensor {name!r} holds {lost:.6g}, beyond the largest {dtype} ({limit:.6g}); save it with a wider dtype.")


def _odd(entries: Tensor) -> Tensor:
    """float64 as float32, cut off towards zero, the last bit set where something was cut: rounded again, it is rounded as if once.

    Torch goes from float64 to half precision through float32, which rounds twice. (Boldo and Melquiond, "When double rounding
    is odd", 2005.)
    """
    near = entries.float()
    back = near.double()
    bits = near.view(torch.int32) - (back.abs() > entries.abs()).int()
    return (bits | (back != entries).int()).view(torch.float32).where(entries.isfinite(), near)
