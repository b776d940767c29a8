"""One step of an average: m <- m + rate (w - m) for every tensor, in one pass, NaN refused.

A block of the model is looked at when it comes into the cache and used while it is there: the pass costs a read of the model, a
read and a write of the average, and nothing more. Where a block holds NaN or Inf, nothing of it is used and the blocks before it
are taken back, m = (m' - rate w) / (1 - rate) in float64: right to the last bit or its neighbour. Steps of more than half the way,
which cannot be taken back so well, and tensors on accelerators, where a pass is queued as a whole, are looked at first.
"""

from collections.abc import Iterable, Mapping
from math import isfinite
from typing import NamedTuple

import torch
from torch import Tensor

from ..engines import Inline, current
from ..errors import NonFinite
from ..weights import BLOCK
from ..weights.spec import spans

_TASK = 8 * BLOCK
_SMALL = 2 * BLOCK
_FAR = 0.5


class Move(NamedTuple):
    """A tensor of the average (`total`, working precision), the one it follows, and how far it goes; layouts are alike."""

    name: str
    total: Tensor
    live: Tensor
    rate: float


def flat(tensor: Tensor) -> Tensor:
    """All entries in the order of memory; of a tensor with gaps a copy in the order of its axes.

    >>> flat(torch.arange(6).view(2, 3).T).tolist()
    [0, 1, 2, 3, 4, 5]
    """
    order = sorted(range(tensor.ndim), key=lambda axis: (-tensor.stride(axis), axis))
    return tensor.detach().permute(order).reshape(-1)


def advance(moves: Iterable[Move]) -> None:
    """Take the step.

    Raises:
        NonFinite: a tensor of the model holds NaN or Inf; the average is what it was before.
    """
    moves = [move for move in moves if move.live.numel()]
    here = [move for move in moves if move.live.is_cpu and move.total.is_cpu]
    there = [move for move in moves if not (move.live.is_cpu and move.total.is_cpu)]
    refuse_nonfinite({move.name: move.live for move in [*there, *here] if move.rate > _FAR or not move.live.is_cpu or not move.total.is_cpu})
    _advance_here(here)
    _advance_there(there)


def _advance_here(moves: list[Move]) -> None:
    tasks = [(move, flat(move.total), flat(move.live), lo, hi) for move in moves for lo, hi in spans(move.live.numel(), _TASK)]
    done: list[tuple[Tensor, Tensor, float]] = []

    def work(task: tuple[Move, Tensor, Tensor, int, int]) -> None:
        move, total, live, lo, hi = task
        for first, last in spans(hi - lo):
            block, entries = total[lo + first : lo + last], live[lo + first : lo + last]
            entries = entries.to(block.dtype)
            if not _finite(entries):
                raise _refused(move.name, live)
            block.lerp_(entries, move.rate)
            done.append((block, entries if entries.dtype == live.dtype else live[lo + first : lo + last], move.rate))

    engine = Inline() if sum(move.live.numel() for move in moves) < _SMALL else current()
    try:
        for _ in engine.map(work, tasks):
            pass
    except NonFinite:
        for block, entries, rate in done:
            block.copy_((block.double() - rate * entries.double()) / (1 - rate))
        raise


def refuse_nonfinite(tensors: Mapping[str, Tensor]) -> None:
    """Look at every tensor, with one wait for the accelerator.

    Raises:
        NonFinite: one holds NaN or Inf; the message names it.
    """
    sums = [tensor.sum(dtype=torch.float32) for tensor in tensors.values()]
    waited = torch.stack([total.to(sums[0].device) for total in sums]).tolist() if sums else []
    for (name, tensor), total in zip(tensors.items(), waited, strict=True):
        if not isfinite(total) and not torch.isfinite(tensor).all():
            raise _refused(name, flat(tensor))


def _advance_there(moves: list[Move]) -> None:
    for move in moves:
        move.total.lerp_(move.live.to(move.total.device, move.total.dtype), move.rate)


def _finite(entries: Tensor) -> bool:
    """A sum is finite where all entries are, or nearly always; it costs least."""
    return isfinite(entries.sum().item()) or bool(torch.isfinite(entries).all())


def _refused(name: str, live: Tensor) -> NonFinite:
    first = int((~torch.isfinite(live)).nonzero()[0])
    return NonFinite(f"tensor {name!r} of the model holds NaN or Inf (first at entry {first}); it was not averaged, and the average is as it was.")
