"""One step of an average: m <- m + rate (w - m) for every tensor, in one pass, NaN refused.

A block of the model is looked at when it comes into the cache and used while it is there: the pass costs a read of the model, a
read and a write of the average, and nothing more. Where a block holds NaN, Inf or large entries, nothing of it is used, the blocks before
it are taken back, m = (m' - rate w) / (1 - rate) in float64, right to the rounding of the step itself, and everything is looked at before
any of it is used. So are steps of more than half the way, which cannot be taken back so well, and tensors on accelerators, where a pass is
queued as a whole. Small tensors go through a block together: a call for each would cost more than they do. Torch's own threads share each
call: measured, they are quicker here than threads that take a block each.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from math import isfinite
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import NonFinite
from ..rules.fold import LARGE
from ..weights import BLOCK

_SMALL = BLOCK // 16  # what torch works on in one thread
_QUEUED = 128 * BLOCK
_THREADS = 16
_FAR = 0.5


class _LargeError(Exception):
    """Entries of the model are large, or none: all must be looked at before any is used, for what they are added to could not be had back."""


class Move(NamedTuple):
    """A tensor of the average (`total`, working precision, without gaps), the one it follows, of the same shape, and how far it goes."""

    name: str
    total: Tensor
    live: Tensor
    rate: float


#: A piece of the step: does it, and says what it did. Of NaN, where it is to look, it does nothing.
Task = Callable[[bool], Sequence[Move]]


def flat(tensor: Tensor, like: Tensor | None = None) -> Tensor:
    """All entries in the order in which `like` lies in memory, by default the tensor itself: a view, or a copy where the tensor lies otherwise.

    >>> flat(torch.arange(6).view(2, 3).T).tolist()
    [0, 1, 2, 3, 4, 5]
    """
    like = tensor if like is None else like
    if like.is_contiguous():
        return tensor.reshape(-1)
    order = sorted(range(like.ndim), key=lambda axis: (-like.stride(axis), axis))
    return tensor.permute(order).reshape(-1)


@torch.no_grad()
def advance(moves: Iterable[Move], look: bool = True) -> None:
    """Take the step; without a `look`, NaN enters the average as any other number does.

    Raises:
        NonFinite: a tensor of the model holds NaN or Inf; the average is what it was before.
    """
    here: list[Move] = []
    there: list[Move] = []
    for move in moves:
        if move.live.numel():
            (here if move.live.is_cpu and move.total.is_cpu else there).append(move)
    if look:
        refuse_nonfinite({move.name: move.live for move in [*there, *(move for move in here if move.rate > _FAR)]})
    try:
        _advance_here(here, look)
    except _LargeError:
        refuse_nonfinite({move.name: move.live for move in here})
        _advance_here(here, False)
    _advance_there(there)


def _advance_here(moves: list[Move], look: bool) -> None:
    done: list[Sequence[Move]] = []
    try:
        done.extend(task(look) for task in _tasks(moves))
    except BaseException:
        for moved in done:
            _take_back(moved)
        raise


def _tasks(moves: list[Move]) -> Iterator[Task]:
    small: list[Move] = []
    for move in moves:
        if move.live.numel() <= _SMALL:
            small.append(move)
        else:
            yield _Span(move, flat(move.total), flat(move.live, move.total))
    for group in _alike(small, _SMALL, lambda move: (move.live.dtype, move.total.dtype, move.rate)):
        yield _Group(group)


class _Span(NamedTuple):
    """One tensor, in pieces of half a block for each of torch's threads."""

    move: Move
    total: Tensor
    live: Tensor

    def __call__(self, look: bool) -> Sequence[Move]:
        (name, _, _, rate), total, live = self
        done, same = 0, live.dtype == total.dtype
        piece = BLOCK // 2 * min(torch.get_num_threads(), _THREADS) if look or not same else len(total)
        try:
            for block, entries in zip(total.split(piece), live.split(piece), strict=True):
                entries = entries if same else entries.to(total.dtype)
                if look and not _small(entries):
                    raise _LargeError
                block.lerp_(entries, rate)
                done += len(block)
        except BaseException:
            _take_back([Move(name, total[:done], live[:done], rate)])
            raise
        return [Move(name, total, live, rate)]


class _Group(NamedTuple):
    """Small tensors of one dtype and one rate."""

    moves: list[Move]

    def __call__(self, look: bool) -> Sequence[Move]:
        first, totals = self.moves[0], [move.total for move in self.moves]
        same = first.live.dtype == first.total.dtype
        entries = [move.live if same else move.live.to(first.total.dtype) for move in self.moves]
        if look and not _small(torch.ops.aten.flatten_dense_tensors(entries)):
            raise _LargeError
        torch.ops.aten._foreach_lerp_.Scalar(totals, entries, first.rate)
        return self.moves


def _take_back(moves: Sequence[Move]) -> None:
    with torch.no_grad():
        for _, total, live, rate in moves:
            if rate == 1:
                continue  # nothing of what was there is left
            total.copy_((total.double() - rate * live.double()) / (1 - rate))


def _advance_there(moves: list[Move]) -> None:
    """A few calls for all tensors, with at most so many entries of the model in another dtype or another place at once."""
    for group in _alike(moves, _QUEUED, lambda move: (move.live.dtype, move.live.device, move.total.dtype, move.total.device, move.rate)):
        entries = [move.live.to(move.total.device, move.total.dtype) for move in group]
        torch.ops.aten._foreach_lerp_.Scalar([move.total for move in group], entries, group[0].rate)


def _alike(moves: Iterable[Move], most: int, kind: Callable[[Move], Hashable]) -> Iterator[list[Move]]:
    """The moves of one kind together, in groups that end when they have so many entries."""
    groups: dict[Hashable, list[Move]] = {}
    for move in moves:
        groups.setdefault(kind(move), []).append(move)
    for same in groups.values():
        first = size = 0
        for last, move in enumerate(same, 1):
            size += move.live.numel()
            if size >= most or last == len(same):
                yield same[first:last]
                first, size = last, 0


@torch.no_grad()
def refuse_nonfinite(tensors: Mapping[str, Tensor]) -> None:
    """Look at every tensor, with one wait for each accelerator.

    Raises:
        NonFinite: one holds NaN or Inf; the message names it.
    """
    names: dict[Hashable, list[str]] = {}
    for name, tensor in tensors.items():
        if tensor.numel():
            names.setdefault((tensor.device, tensor.dtype), []).append(name)
    for same in names.values():
        norms = torch.ops.aten._foreach_norm.Scalar([_wide(tensors[name]) for name in same], 2)
        for name, norm in zip(same, torch.stack(list(norms)).tolist(), strict=True):
            if not isfinite(norm) and not torch.isfinite(_wide(tensors[name])).all():
                raise _refused(name, tensors[name])


def _wide(tensor: Tensor) -> Tensor:
    """Eight bits have no arithmetic of their own."""
    return tensor if tensor.dtype.itemsize > 1 else tensor.float()


def _small(entries: Tensor) -> bool:
    """Neither NaN nor Inf nor large, by a sum of squares, which costs least."""
    return torch.dot(entries, entries).item() < LARGE * len(entries)


def _refused(name: str, live: Tensor) -> NonFinite:
    first = tuple((~torch.isfinite(_wide(live))).nonzero()[0].tolist())
    return NonFinite(f"tensor {name!r} of the model holds NaN or Inf (first at entry {first}); it was not averaged, and the average is as it was.")
