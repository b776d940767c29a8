"""Runs of layers that two networks of a family have in different numbers, found from tensor names."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import BadParameter, unknown
from ..weights.axes.table import Axes, Term

#: prefixes of the modules of one layer: a convolution and the norm behind it are one layer
Layer = tuple[str, ...]


@dataclass(frozen=True)
class Stage:
    """Layers of the moving network, and the layers of the reference that they may stand for, each in order.

    Give stages by hand where something between layers says which may correspond, such as the pooling between convolutions.

    Args:
        moving: prefixes of module names.
        reference: prefixes of module names.

    >>> Stage(("features.0",), ("features.0", "features.2"))
    Stage(moving=('features.0',), reference=('features.0', 'features.2'))
    """

    moving: tuple[str, ...]
    reference: tuple[str, ...]


def stages(moving: Axes, reference: Axes, layers: Sequence[str | Stage] | None = None) -> list[tuple[list[Layer], list[Layer]]]:
    """The layers of every stage, of both networks.

    Args:
        moving: its table.
        reference: its table.
        layers: stages, or patterns such as "h.*" where the star is the layer's number. By default every run of numbered names whose
            numbers differ between the two.

    Raises:
        UnknownName: a pattern or prefix that no tensor has.
        BadParameter: a pattern without the star at its end.
    """
    found = []
    for stage in _differing(moving, reference) if layers is None else layers:
        given = stage if isinstance(stage, Stage) else _stage(moving, reference, stage)
        for axes, prefixes in ((moving, given.moving), (reference, given.reference)):
            for prefix in prefixes:
                if not any(name.startswith(f"{prefix}.") for name in axes.layouts):
                    raise unknown("layer", prefix, {name.rpartition(".")[0] for name in axes.layouts})
        found.append((_joined(moving, given.moving), _joined(reference, given.reference)))
    return found


def _stage(moving: Axes, reference: Axes, pattern: str) -> Stage:
    head, star, tail = pattern.rpartition("*")
    if not star or tail or "*" in head or (head and not head.endswith(".")):
        raise BadParameter(f"a run of layers is written as 'name.*' with one star, at the end, for the layer's number; found {pattern!r}.")
    numbers = [_numbers(axes).get(head, ()) for axes in (moving, reference)]
    for axes, found in zip((moving, reference), numbers, strict=True):
        if not found:
            raise unknown("run of layers", pattern, {f"{head}*" for head in _numbers(axes)})
    return Stage(*(tuple(f"{head}{number}" for number in found) for found in numbers))


def _differing(moving: Axes, reference: Axes) -> list[Stage]:
    """Runs whose numbers differ, and that lie in no other such run."""
    here, there = _numbers(moving), _numbers(reference)
    heads = [head for head in here if head in there and here[head] != there[head]]
    outer = [head for head in heads if not any(head.startswith(other) and head != other for other in heads)]
    return [Stage(*(tuple(f"{head}{number}" for number in numbers[head]) for numbers in (here, there))) for head in outer]


def _numbers(axes: Axes) -> dict[str, tuple[int, ...]]:
    """head -> the numbers that stand behind it; "a.3.b" has 3 behind "a."."""
    found: dict[str, set[int]] = {}
    for name in axes.layouts:
        parts = name.split(".")
        for place, part in enumerate(parts[:-1]):
            if part.isdigit():
                found.setdefault("".join(f"{before}." for before in parts[:place]), set()).add(int(part))
    return {head: tuple(sorted(numbers)) for head, numbers in found.items()}


def _joined(axes: Axes, prefixes: Iterable[str]) -> list[Layer]:
    """A layer begins where something is consumed; what follows and consumes nothing, such as a norm, belongs to it."""
    layers: list[list[str]] = []
    for prefix in prefixes:
        consumes = any(axes.layouts[name].consumed is not None for name in tensors(axes, (prefix,)))
        if consumes or not layers:
            layers.append([prefix])
        else:
            layers[-1].append(prefix)
    return [tuple(layer) for layer in layers]


def tensors(axes: Axes, layer: Layer) -> list[str]:
    """The tensors of a layer, in the order of its modules."""
    return [name for prefix in layer for name in axes.layouts if name.startswith(f"{prefix}.")]


def translated(name: str, layer: Layer, other: Layer) -> str:
    """A tensor's name in another layer.

    >>> translated("body.3.weight", ("body.2", "body.3"), ("body.6", "body.7"))
    'body.7.weight'
    """
    place = next(i for i, prefix in enumerate(layer) if name.startswith(f"{prefix}."))
    return other[place] + name[len(layer[place]) :]


def kind(axes: Axes, layer: Layer) -> tuple[object, ...]:
    """Layers of one kind can stand for one another: the same tensors, with the same kinds of axes."""
    own, shared = made(axes, layer)

    def word(term: Term) -> tuple[object, ...]:
        return tuple(f if isinstance(f, int) else "own" if f in own else "shared" if f in shared else "other" for f in term)

    found = []
    for place, prefix in enumerate(layer):
        for name in tensors(axes, (prefix,)):
            layout = axes.layouts[name]
            found.append((place, name[len(prefix) :], tuple(tuple(map(word, axis)) for axis in layout.axes), layout.consumed))
    return tuple(sorted(found, key=str))


def made(axes: Axes, layer: Layer) -> tuple[set[str], set[str]]:
    """The spaces that a layer makes alone, and those that others make too: residual streams."""
    inside = set(tensors(axes, layer))
    makers: dict[str, set[str]] = {}
    for space in axes.spaces:
        makers[space] = {use.tensor for use in axes.uses(space) if use.axis != axes.layouts[use.tensor].consumed}
    here = {space for space, names in makers.items() if names & inside}
    own = {space for space in here if makers[space] <= inside}
    return own, here - own
