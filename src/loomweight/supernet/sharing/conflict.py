"""How far the options of a field disagree on the weights that they share: gradient matching.

Paper: Generalizing Few-Shot NAS with Gradient Matching (2022, https://arxiv.org/abs/2203.15207), equation 3 and section 4.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations, cycle, islice
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import BadParameter
from ...search import Space
from ...search.randomness import Source, numbers_of
from ..elastic import Elastic, Values
from ..step import Loss, outputs_of
from ..stored import Stored

#: gradient of a whole tensor, and which of its entries were used
Gradient = dict[str, tuple[Tensor, Tensor]]
#: options of which all partitions are tried
_MOST = 14


@dataclass(frozen=True)
class Conflict:
    """One field of a supernet.

    Part of: few_shot.

    Args:
        field: its name.
        options: its options.
        distances: (n, n), 1 - cosine of the gradients of the shared weights under two options: 0 where they agree, 2 where they oppose.
        groups: the two parts of the options that agree best within.
        score: mean distance between the two parts.
    """

    field: str
    options: tuple[Any, ...]
    distances: np.ndarray
    groups: tuple[tuple[Any, ...], tuple[Any, ...]]
    score: float

    def __str__(self) -> str:
        return f"{self.field}: {list(self.groups[0])} against {list(self.groups[1])}, distance {self.score:.3f}"


@dataclass(frozen=True)
class Matching:
    """How gradients are compared.

    Part of: few_shot.

    Args:
        draws: configurations of the other fields, a batch each, over which distances are averaged.
        measure: `cosine` of all shared entries as one vector; or `filter`, the sum over the rows of every matrix or kernel.
        seed: a number, or a generator, which moves on.
    """

    draws: int = 10
    measure: Literal["cosine", "filter"] = "cosine"
    seed: Source = 0


def conflicts(net: Elastic, batches: Iterable[Any], loss: Loss, matching: Matching | None = None, space: Space | None = None) -> list[Conflict]:
    """The fields of a supernet, the one whose options conflict most first.

    Part of: few_shot.

    For each draw of the other fields, every option of a field runs on the same batch. Their gradients are compared on the entries
    that both options use; a tensor that only one option uses has no part in it.

    Gradients of the model are cleared; weights and BatchNorm statistics are left as they were.

    Args:
        net: in training mode, as a rule.
        batches: (inputs, targets); taken in turn.
        loss: (outputs, targets) -> mean loss.
        matching: how to compare; None for the defaults.
        space: a part of the net's space; None for all of it.

    Raises:
        BadParameter: no batch, or a field has more options than can be split exactly.
    """
    how, part = matching or Matching(), space or net.space
    random, endless = numbers_of(how.seed), _endless(batches)
    found = []
    with net.selected(net.active), _buffers_kept(net):
        for field, dimension in part.dimensions.items():
            options = tuple(dimension.every())
            if len(options) > _MOST:
                raise BadParameter(f"{field} has {len(options)} options; partitions are compared exactly up to {_MOST}. Split it by hand, or give it fewer.")
            if len(options) > 1:
                found.append(_conflict(field, options, _average(net, part, field, loss, islice(endless, how.draws), (random, how.measure))))
    net.zero_grad()
    return sorted(found, key=lambda conflict: -conflict.score)


def _average(net: Elastic, space: Space, field: str, loss: Loss, batches: Iterator[Any], how: tuple[np.random.Generator, str]) -> np.ndarray:
    random, measure = how
    total, count = 0.0, 0
    options = tuple(space.dimensions[field].every())
    for batch in batches:
        if (values := _drawn(space, field, random)) is None:
            break
        gradients = [_gradient(net, values | {field: option}, batch, loss) for option in options]
        total, count = total + np.array([[_distance(a, b, measure) for a in gradients] for b in gradients]), count + 1
    return np.asarray(total / count) if count else np.zeros((len(options),) * 2)


def _drawn(space: Space, field: str, random: np.random.Generator) -> Values | None:
    """A configuration in which the field matters; None where none of many does."""
    drawn = (space.sample(random) for _ in range(100))
    return next((values for values in drawn if field in space.matters(values)), None)


def _gradient(net: Elastic, values: Values, batch: Any, loss: Loss) -> Gradient:
    net.zero_grad()
    loss(outputs_of(net, values, batch[0]), batch[1]).backward()
    return {name: whole for name, one in net.stored().items() if isinstance(one.tensor, nn.Parameter) and (whole := _whole(one)) is not None}


def _whole(stored: Stored) -> tuple[Tensor, Tensor] | None:
    leaves = list(stored.with_gradient())
    if not leaves:
        return None
    gradient, used = torch.zeros_like(stored.tensor), torch.zeros_like(stored.tensor, dtype=torch.bool)
    for leaf in leaves:
        leaf.view(gradient).add_(leaf.tensor.grad)  # type: ignore[arg-type]
        leaf.view(used).fill_(value=True)
    return gradient.detach(), used


def _distance(a: Gradient, b: Gradient, measure: str) -> float:
    if measure == "filter":
        return sum(_by_rows(a[name], b[name]) for name in a if name in b and a[name][0].ndim > 1)
    inner = first = second = 0.0
    for name in (name for name in a if name in b):
        both = a[name][1] & b[name][1]
        x, y = a[name][0][both].double(), b[name][0][both].double()
        inner, first, second = inner + (x @ y).item(), first + (x @ x).item(), second + (y @ y).item()
    return 1 - inner / (first * second) ** 0.5 if first * second else 0.0


def _by_rows(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> float:
    both = (a[1] & b[1]).flatten(1)
    x, y = (a[0].flatten(1) * both).double(), (b[0].flatten(1) * both).double()
    norms = x.norm(dim=1) * y.norm(dim=1)
    rows = norms > 0
    return (1 - (x * y).sum(1)[rows] / norms[rows]).sum().item()


def _conflict(field: str, options: tuple[Any, ...], distances: np.ndarray) -> Conflict:
    chosen = min_cut(distances)
    rest = [i for i in range(len(options)) if i not in chosen]
    groups = tuple(options[i] for i in chosen), tuple(options[i] for i in rest)
    return Conflict(field, options, distances, groups, float(distances[np.ix_(chosen, rest)].mean()))


def min_cut(distances: np.ndarray) -> list[int]:
    """The part of the options, option 0 among them, with the smallest sum of distances inside the two parts: of all partitions.

    >>> min_cut(np.array([[0, 2, 0.1], [2, 0, 2], [0.1, 2, 0]]))
    [0, 2]
    """
    n = len(distances)

    def inside(part: Sequence[int]) -> float:
        rest = [i for i in range(n) if i not in part]
        return float(distances[np.ix_(part, part)].sum() + distances[np.ix_(rest, rest)].sum()) / 2

    parts = [[0, *others] for size in range(n - 1) for others in combinations(range(1, n), size)]
    return min(parts, key=inside)


def _endless(batches: Iterable[Any]) -> Iterator[Any]:
    kept = list(batches)
    if not kept:
        raise BadParameter("no batch to compare gradients on; give at least one.")
    return cycle(kept)


@contextmanager
def _buffers_kept(net: Elastic) -> Iterator[None]:
    """BatchNorm statistics are afterwards as they were before."""
    tensors = [one.tensor for one in net.stored().values() if not isinstance(one.tensor, nn.Parameter)]
    before = [tensor.clone() for tensor in tensors]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, kept in zip(tensors, before, strict=True):
                tensor.copy_(kept)
