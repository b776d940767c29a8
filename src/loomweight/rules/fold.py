"""Rules that take sets pushed one at a time: start, add, value on plain data, equal to the batch rule by a test.

A `State` is a dict of tensors and a few numbers: print it, save it, resume it. One extra model of memory, whatever the number of
sets. Only formulas that are sums over the sets, or an extreme over them, can be folded: a median, a Gram matrix or a trimmed
difference needs all sets at once, so those rules have no fold.

Papers: Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing inference time (2022,
https://arxiv.org/abs/2203.05482); MagMax: Leveraging Model Merging for Seamless Continual Learning (2024,
https://arxiv.org/abs/2407.06322), which merges task after task.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from ..errors import BadParameter, IntegersDiffer, NamesDiffer, NonFinite, ShapesDiffer, TooFewSets
from ..weights import BLOCK, Block, Weights
from ..weights.algebra import working
from ..weights.names import difference
from ..weights.spec import cast, spans
from .mag_max import farther

_CHECKED = 2 * BLOCK
#: a longer step cannot be taken back well
_FAR = 0.5
#: a step whose entries are larger than this, in the mean of their squares over a block, leaves too few digits of what it is added to
LARGE = 1024.0


@dataclass
class State:
    """What has been pushed: `total` in working precision, the weight and the number of sets, and the integers, which must stay.

    >>> RunningMean().start({"w": torch.zeros(2)}).count
    0
    """

    total: dict[str, Tensor]
    integers: dict[str, Tensor]
    dtypes: dict[str, torch.dtype]
    weight: float = 0.0
    count: int = 0


class Running(ABC):
    """A rule over sets that come one at a time."""

    def start(self, like: "Weights | Mapping[str, Tensor]") -> State:
        """An empty state for sets of these names, shapes and dtypes."""
        weights = _opened(like)
        spec = {name: weights.spec[name] for name in weights.names}
        total = {name: torch.zeros(s.shape, dtype=s.work) for name, s in spec.items() if s.averages}
        return State(total, {}, {name: s.dtype for name, s in spec.items()})

    def add(self, state: State, new: "Weights | Mapping[str, Tensor]", weight: float = 1.0) -> State:
        """Push a set; the state is changed in place and returned. On an error it is as it was (an average: to the rounding of one step).

        Raises:
            NamesDiffer, ShapesDiffer: it does not fit the sets before.
            IntegersDiffer: an integer tensor, which is never averaged, differs from theirs.
            NonFinite: it holds NaN or Inf.
            BadParameter: the weight is not a finite number of at least 0.
        """
        weights = _opened(new)
        if not (isfinite(weight) and weight >= 0):
            raise BadParameter(f"the weight of a set must be finite and at least 0, found {weight}.")
        _fits(state, weights)
        integers = _integers(state, weights)
        self._push_all(state, weights, weight)
        state.integers, state.weight, state.count = integers, state.weight + weight, state.count + 1
        return state

    @abstractmethod
    def push(self, total: Tensor, entries: Tensor, weight: float, state: State) -> None:
        """Change a block of the total in place."""

    def _push_all(self, state: State, weights: Weights, weight: float) -> None:
        """Look at every entry before any is used."""
        self._look_at(weights)
        for name, total in state.total.items():
            read, flat = working(weights, name), total.view(-1)
            for lo, hi in spans(flat.numel()):
                self.push(flat[lo:hi], read(lo, hi), weight, state)

    def _look_at(self, like: "Weights | Mapping[str, Tensor]") -> None:
        weights = _opened(like)
        for name in weights.physical:
            if weights.spec[name].averages:
                _refuse_nonfinite(weights, name)

    def value(self, state: State) -> Weights:
        """The combination of what was pushed, rounded once on reading out.

        Raises:
            TooFewSets: nothing was pushed yet, or nothing with a weight.
        """
        if state.weight <= 0:
            raise TooFewSets(f"{self}: nothing with a weight has been pushed yet.")
        return Weights.of({name: self._tensor(state, name).clone() for name in state.dtypes})

    def _tensor(self, state: State, name: str) -> Tensor:
        return cast(state.total[name], state.dtypes[name], name) if name in state.total else state.integers[name]


class RunningAverage(Running):
    """m <- m + rate (w - m): an average whose weights are said by how much of it each new set is.

    A set that was pushed with a share `rate` keeps of it what later sets leave: the product of their 1 - rate. So the value is
    `Mean(weights)` of all sets, and `loomweight.trajectory` has averages of the same form over the samples of a training run.
    """

    @abstractmethod
    def rate(self, seen: float, new: float) -> float:
        """The share, in (0, 1], of a new set of weight `new` > 0 after sets of weight `seen` >= 0 in all."""

    def push(self, total: Tensor, entries: Tensor, weight: float, state: State) -> None:
        """A step towards the new set."""
        if weight:
            total.lerp_(entries.to(total.dtype), self.rate(state.weight, weight))

    def _push_all(self, state: State, weights: Weights, weight: float) -> None:
        """In one pass where a step can be taken back: each block is looked at when it is read; what was pushed before NaN is undone.

        What is large cannot be undone well, since it leaves few digits of what it was added to: then all is looked at first.
        """
        rate = self.rate(state.weight, weight) if weight else 0.0
        if not 0 < rate <= _FAR or not self._in_one_pass(state, weights, rate):
            super()._push_all(state, weights, weight)

    def _in_one_pass(self, state: State, weights: Weights, rate: float) -> bool:
        """Whether it was done; else nothing has changed, to the rounding of a step."""
        done: list[tuple[Tensor, Block, int, int]] = []
        small = False
        try:
            for name, total in state.total.items():
                read, flat = working(weights, name), total.view(-1)
                for lo, hi in spans(flat.numel()):
                    entries = read(lo, hi).to(flat.dtype)
                    if not _squares(entries) < LARGE * len(entries):
                        return False
                    flat[lo:hi].lerp_(entries, rate)
                    done.append((flat[lo:hi], read, lo, hi))
            small = True
        finally:
            for block, read, lo, hi in [] if small else done:
                block.copy_((block.double() - rate * read(lo, hi).double()) / (1 - rate))
        return True


@dataclass(frozen=True)
class RunningMean(RunningAverage):
    """m <- m + a / A (w - m) for a set of weight a, A the weights so far: `Mean(weights)` of all that was pushed.

    >>> mean = RunningMean()
    >>> state = mean.start({"w": torch.zeros(2)})
    >>> for w in ([1.0, 2.0], [3.0, 6.0]):
    ...     state = mean.add(state, {"w": torch.tensor(w)})
    >>> mean.value(state)["w"]
    tensor([2., 4.])
    """

    def rate(self, seen: float, new: float) -> float:
        """a / A."""
        return new / (seen + new)


@dataclass(frozen=True)
class RunningMagMax(Running):
    """The entry of largest magnitude so far: `MagMax()` of all that was pushed; of x and -x the positive one.

    >>> largest = RunningMagMax()
    >>> state = largest.start({"w": torch.zeros(2)})
    >>> for w in ([1.0, -2.0], [-3.0, 1.0]):
    ...     state = largest.add(state, {"w": torch.tensor(w)})
    >>> largest.value(state)["w"]
    tensor([-3., -2.])
    """

    def push(self, total: Tensor, entries: Tensor, weight: float, state: State) -> None:
        """Take over what is larger."""
        entries = entries.to(total.dtype)
        total.copy_(farther(torch.maximum(total, entries), torch.minimum(total, entries)))


def _opened(sets: "Weights | Mapping[str, Tensor]") -> Weights:
    return sets if isinstance(sets, Weights) else Weights.of(sets)


def _refuse_nonfinite(weights: Weights, name: str) -> None:
    """Look at every entry before any is used."""
    spec = weights.spec[name]
    read = weights.open(name) if spec.dtype.itemsize > 1 else working(weights, name)
    for lo, hi in spans(spec.numel, _CHECKED):
        if not _finite(read(lo, hi)):
            raise _refused(weights, name)


def _finite(entries: Tensor) -> bool:
    """A sum is finite where all entries are, or nearly always."""
    return isfinite(entries.sum().item()) or bool(torch.isfinite(entries).all())


def _squares(entries: Tensor) -> float:
    """A sum of squares costs less than a sum, and tells how large entries are besides."""
    return torch.dot(entries, entries).item()


def _refused(weights: Weights, name: str) -> NonFinite:
    return NonFinite(f"{weights.label or 'the set'}: tensor {name!r} holds NaN or Inf; it was not added.")


def _fits(state: State, weights: Weights) -> None:
    if lacking := difference(state.dtypes, weights.names):
        raise NamesDiffer(f"the set does not fit those before: {lacking}.")
    for name, total in state.total.items():
        if tuple(total.shape) != weights.spec[name].shape:
            raise ShapesDiffer(f"tensor {name!r} has shape {weights.spec[name].shape}, the sets before {tuple(total.shape)}.")


def _integers(state: State, weights: Weights) -> dict[str, Tensor]:
    found = {name: weights[name].clone() for name in state.dtypes if name not in state.total}
    for name, before in state.integers.items():
        if not torch.equal(before, found[name]):
            raise IntegersDiffer(f"integer tensor {name!r} differs from that of the sets before; integers are never averaged: leave it out.")
    return found
