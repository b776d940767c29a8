"""What is known of a tensor before its data is read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ..errors import Overflow

#: A tensor opened for reading: flat entries [lo, hi) as a 1-D tensor. It may be a view of the input: never write into it.
Block = Callable[[int, int], Tensor]

#: Entries handled at once. A few float32 blocks of this size fit a core's L2 cache.
BLOCK = 1 << 17


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
        """True for floating dtypes; integers and booleans are never averaged."""
        return self.dtype.is_floating_point

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


def cast(entries: Tensor, dtype: torch.dtype, name: str) -> Tensor:
    """Round once to `dtype`; a finite value that does not fit raises `Overflow` with the tensor's name."""
    if entries.dtype == dtype:
        return entries
    out = entries.to(dtype)
    narrow = dtype.is_floating_point and torch.finfo(dtype).max < torch.finfo(torch.float32).max
    if narrow and entries.numel() and (lost := entries.abs().max().item()) > torch.finfo(dtype).max:
        raise Overflow(f"tensor {name!r} holds {lost:.6g}, beyond the largest {dtype} ({torch.finfo(dtype).max:.6g}); save it with a wider dtype.")
    return out
