"""Which layers can be averaged: the loss where one layer alone, or several, lie between two models.

Paper: Layer-wise Linear Mode Connectivity (2023, https://arxiv.org/abs/2307.06966). Original code:
https://github.com/link-er/layer-wise-lmc (LLMC/layerwise_nonconvex_compute.py, layer_cumulative_compute.py and their heat maps):
the loss with the layer's average in the place of the layer, minus the mean loss of the two whole models.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Literal

from ..errors import BadParameter, NonFinite, UnknownName, unknown
from ..weights import Block, Weights, layer_of, matches
from .barrier import Barrier, between

Mode = Literal["single", "first", "last"]
_MODES = {"single": "one group alone", "first": "this group and all before it", "last": "this group and all after it"}


@dataclass(frozen=True)
class Group:
    """What was found for one group of tensors.

    Args:
        name: the layer, or the pattern.
        tensors: those that were moved between the models.
        losses: at every position; the others' tensors are the first model's.
        swap: the loss with the second model's tensors put in whole.
        height: the highest rise between the ends above the line from one whole model's loss to the other's; it may be negative.
        cut: the highest rise above the line from the first model's loss to `swap`; 0 or less where the cut is convex there.
    """

    name: str
    tensors: tuple[str, ...]
    losses: tuple[float, ...]
    height: float
    cut: float

    @property
    def swap(self) -> float:
        """The loss with the second model's tensors put in whole."""
        return self.losses[-1]


@dataclass(frozen=True)
class Layerwise:
    """A table: a row for every group.

    Args:
        mode: single, first or last.
        positions: t of every point, 0 (the first model) to 1 (the second model's tensors).
        whole: the barrier with all tensors moved.
        groups: the rows, in the models' order.
    """

    mode: Mode
    positions: tuple[float, ...]
    whole: Barrier
    groups: tuple[Group, ...]

    def below(self, threshold: float = 0.0) -> tuple[str, ...]:
        """Patterns of the tensors whose barrier is at most this: average these, keep the rest. `Where` and `Route` take them.

        Of cumulative tables the longest run from its beginning that is low as a whole.

        Raises:
            UnknownName: no group is that low.
        """
        low = [group for group in self.groups if group.height <= threshold]
        if not low:
            best = min(self.groups, key=lambda group: group.height)
            raise UnknownName(f"no group has a barrier of {threshold:g} or less; the lowest is {best.name!r} with {best.height:.4g}.")
        if self.mode != "single":
            low = [max(low, key=lambda group: len(group.tensors))]
        names = (
            [name for group in self.groups for name in group.tensors] if self.mode == "single" else list(self.groups[-1 if self.mode == "first" else 0].tensors)
        )
        return tuple(pattern for group in low for pattern in _patterns(group, names))

    def __str__(self) -> str:
        width = max(len(group.name) for group in self.groups)
        head = f"{'group':{width}}  barrier  its own cut  loss when swapped   ({_MODES[self.mode]})"
        rows = [f"{group.name:{width}}  {group.height:7.4f}  {group.cut:11.4f}  {group.swap:17.4f}" for group in self.groups]
        return "\n".join([head, *rows, f"{'all of it':{width}}  {self.whole.height:7.4f}"])

    def draw(self, path: str | Path) -> Path:
        """Bars of the groups' barriers beside that of the whole (png, svg or pdf).

        Raises:
            MissingExtra: matplotlib is not installed.
            OutputError: the file cannot be written.
        """
        from .picture import draw_layerwise

        return draw_layerwise(self, Path(path))


def layerwise(
    loss: Callable[[Weights], float], a: Weights, b: Weights, *, groups: Sequence[str] | None = None, mode: Mode = "single", steps: int = 3
) -> Layerwise:
    """Barriers when only one layer goes from `a` to `b` and the rest stays `a`'s; swap the two for the rest of `b`.

        height = max over 0 < t < 1 of    L(a with layer (1 - t) a + t b)  -  [(1 - t) L(a) + t L(b)]

    With 3 steps that is the paper's number: the loss with the layer averaged, minus the mean of the whole models' losses.

    Args:
        loss: of a weight set; called (steps - 1) times a group and `steps` times for the whole.
        a, b: as for `barrier`.
        groups: patterns of tensor names; the first that matches takes a tensor, and what none matches stays `a`'s. By default
            the layers that names tell (`layer_of`), in the order of the set.
        mode: "single" (each alone), "first" (with all before it), "last" (with all after it).
        steps: points, the ends counted.

    Raises:
        BadParameter: fewer than 3 points, or no such mode.
        UnknownName: a pattern matches no tensor.
        NonFinite: a loss is NaN or Inf.
        NamesDiffer, ShapesDiffer, TiesDiffer, IntegersDiffer: the sets do not agree.

    >>> import torch
    >>> a, b = (Weights.of({"0.w": torch.tensor(x), "1.w": torch.tensor(x)}) for x in (-1.0, 1.0))
    >>> found = layerwise(lambda w: 1 - float(w["0.w"]) ** 2 + float(w["1.w"]) ** 2, a, b)
    >>> [(group.name, group.height) for group in found.groups], found.below(0.1)
    ([('0', 1.0), ('1', -1.0)], ('1.*',))
    """
    if steps < 3 or mode not in _MODES:
        raise BadParameter(f"a layer-wise barrier needs 3 points or more and a mode of {', '.join(_MODES)}; found steps = {steps}, mode = {mode!r}.")
    positions = tuple(i / (steps - 1) for i in range(steps))
    parts = _grouped(a, groups)
    whole = Barrier(positions, tuple(_sound(loss(between(a, b, t)), "all tensors", t) for t in positions))
    rows = []
    for name, tensors in _cumulated(parts, mode):
        losses = (whole.losses[0], *(_sound(loss(_moved(a, b, tensors, t)), name, t) for t in positions[1:]))
        inside = slice(1, -1)
        rows.append(Group(name, tensors, losses, _above(positions, losses, whole.losses[-1], inside), _above(positions, losses, losses[-1], inside)))
    return Layerwise(mode, positions, whole, tuple(rows))


def _above(positions: Sequence[float], losses: Sequence[float], last: float, inside: slice) -> float:
    return max(loss - ((1 - t) * losses[0] + t * last) for t, loss in zip(positions[inside], losses[inside], strict=True))


def _sound(value: float, name: str, t: float) -> float:
    if not isfinite(value := float(value)):
        raise NonFinite(f"the loss is {value} at t = {t:g} of {name}.")
    return value


def _grouped(weights: Weights, patterns: Sequence[str] | None) -> dict[str, tuple[str, ...]]:
    """Tensors that are averaged, by group; names that share a tensor go with the first of them."""
    found: dict[str, list[str]] = {pattern: [] for pattern in patterns or ()}
    home: dict[str, str] = {}
    for name in weights.names:
        if weights.spec[name].averages:
            own = layer_of(name) if patterns is None else next((pattern for pattern in patterns if matches(pattern, name)), None)
            group = home.setdefault(weights.ties.get(name, name), own) if own else home.get(weights.ties.get(name, name))
            if group is not None:
                found.setdefault(group, []).append(name)
    for pattern, names in found.items():
        if not names:
            raise unknown("tensor left that matches", pattern, weights.names)
    return {group: tuple(names) for group, names in found.items()}


def _cumulated(parts: dict[str, tuple[str, ...]], mode: Mode) -> Iterator[tuple[str, tuple[str, ...]]]:
    names = list(parts)
    for i, name in enumerate(names):
        taken = {"single": [name], "first": names[: i + 1], "last": names[i:]}[mode]
        yield name, tuple(tensor for part in taken for tensor in parts[part])


def _moved(a: Weights, b: Weights, tensors: Sequence[str], t: float) -> Weights:
    """These tensors at t between the models, the others a's."""
    moving, staying = between(a, b, t), between(a, b, 0.0)
    chosen = {a.ties.get(name, name) for name in tensors}

    def open_(name: str) -> Block:
        return (moving if name in chosen else staying).open(name)

    return Weights(moving.spec, open_, ties=a.ties, origin=("layers", a, b, t, *sorted(chosen)), label=f"{a.label}, part at {t:g} to {b.label}")


def _patterns(group: Group, names: Sequence[str]) -> tuple[str, ...]:
    """One pattern for a group where there is one that matches nothing else, its tensors' names otherwise."""
    for pattern in (group.name, f"{group.name}.*"):
        if {name for name in names if matches(pattern, name)} == set(group.tensors):
            return (pattern,)
    return group.tensors
