"""Every tensor of the result, and which tensor of each source goes into it. Names alone; no shapes, no data."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from ..errors import NamesDiffer
from ..weights.names import difference
from .claims import claimed
from .layout import Layout, at_input, serves_all, spot
from .recipe import NONE, Module, Recipe, Slice, Source


@dataclass(frozen=True)
class Slot:
    """One tensor of the result.

    Args:
        name: its name in the result.
        names: its name in each source of `part`, in their order.
        t: depth within its slice, 0 for the first layer and 1 for the last; 0 outside of the layers.
    """

    name: str
    names: tuple[str, ...]
    t: float
    module: Module
    part: Slice

    @property
    def base(self) -> str | None:
        """The base model that its slice names."""
        return self.part.base_model


def slots(recipe: Recipe, layouts: Mapping[str, Layout]) -> list[Slot]:
    """All tensors of the result; `layouts` has every model of the recipe.

    Raises:
        NamesDiffer: a source lacks a tensor that another one has, or has one more.
        RecipeError: a layer_range reaches beyond the model, or it is not clear which layers are meant.
    """
    union = dict.fromkeys(name for model in recipe.models for name in layouts[model].names)
    claims = claimed(recipe.modules, union)
    found: list[Slot] = []
    for key, module in recipe.modules.items():
        mine = set(claims[key])
        part = {model: Layout.of(name for name in layouts[model].names if name in mine) for model in recipe.models}
        found += _whole(recipe, module, part) if module.kind == "models" else _sliced(recipe, module, part)
    return found


def _whole(recipe: Recipe, module: Module, layouts: Mapping[str, Layout]) -> Iterator[Slot]:
    """All tensors of all sources; the base is a source too, as in mergekit."""
    (part,) = module.slices
    part = replace(part, base_model=recipe.base_model)
    if recipe.base_model and recipe.base_model not in part.models:
        part = replace(part, sources=(*part.sources, Source(recipe.base_model, None, NONE, recipe.place)))
    part = replace(part, sources=tuple(_all_layers(source) for source in part.sources))
    first = layouts[part.sources[0].model]
    for source in part.sources[1:]:
        _same_names(part.sources[0].model, first.names, source.model, layouts[source.model].names)
    for name in first.names:
        yield Slot(name, (name,) * len(part.sources), _depth(first, name), module, part)


def _all_layers(source: Source) -> Source:
    return replace(source, layers=None)


def _depth(layout: Layout, name: str) -> float:
    found = spot(name)
    if found is None or found.stack not in layout.stacks:
        return 0.0
    return depth(found.layer, layout.stacks[found.stack])


def depth(index: int, count: int) -> float:
    """Where a layer stands among `count`: 0 is the first, 1 the last; an only layer counts as the last, as in mergekit."""
    return index / (count - 1) if count > 1 else 1.0


def _sliced(recipe: Recipe, module: Module, layouts: Mapping[str, Layout]) -> Iterator[Slot]:
    """The slices one after the other, their layers numbered through; what stands before and behind comes from the first and last."""
    parts = [replace(part, base_model=part.base_model or recipe.base_model) for part in module.slices]
    stack = layouts[parts[0].models[0]].main(parts[0].models[0])
    for part in (parts[0], parts[-1]):
        for source in part.sources[1:]:
            _same_names(part.models[0], _outside(layouts[part.models[0]], stack), source.model, _outside(layouts[source.model], stack))
    yield from _loose(parts[0], module, layouts, stack, before=True)
    at = 0
    for part in parts:
        yield from _layers(part, module, layouts, stack, at)
        first, end = part.sources[0].layers or (0, 0)
        at += end - first
    yield from _loose(parts[-1], module, layouts, stack, before=False)


def _outside(layout: Layout, stack: str) -> tuple[str, ...]:
    return tuple(name for name in layout.names if not ((found := spot(name)) and found.stack == stack))


def _loose(part: Slice, module: Module, layouts: Mapping[str, Layout], stack: str, before: bool) -> Iterator[Slot]:
    for name in _outside(layouts[part.models[0]], stack):
        if at_input(name) == before:
            yield Slot(name, (name,) * len(part.sources), 0.0, module, part)


def _layers(part: Slice, module: Module, layouts: Mapping[str, Layout], stack: str, at: int) -> Iterator[Slot]:
    for source in part.sources:
        _check_range(source, layouts[source.model], stack)
    ranges = [source.layers or (0, 0) for source in part.sources]
    count = ranges[0][1] - ranges[0][0]
    for index in range(count):
        layers = [_layer(layouts[source.model], stack, first + index, at + index) for source, (first, _) in zip(part.sources, ranges, strict=True)]
        for source, layer, (first, _) in zip(part.sources[1:], layers[1:], ranges[1:], strict=True):
            what = f"layer {ranges[0][0] + index} of {part.models[0]!r}", f"layer {first + index} of {source.model!r}"
            _same_names(what[0], tuple(layers[0]), what[1], tuple(layer))
        for rest in layers[0]:
            name = ".".join(part_ for part_ in (stack, str(at + index), rest) if part_)
            yield Slot(name, tuple(layer[rest] for layer in layers), depth(index, count), module, part)


def _layer(layout: Layout, stack: str, index: int, new: int) -> dict[str, str]:
    """The tensors of a layer by the rest of their names. What layer 0 holds for the whole stack goes to the new layer 0, whichever that is."""
    leading = layout.leading(stack)
    own = {rest: name for rest, name in layout.layers[stack][index].items() if rest not in leading}
    return own if new else {**own, **leading}


def carried_notes(found: Iterable[Slot]) -> list[str]:
    """Which tensors of sliced stacks serve all layers, and whose they are."""
    several = [slot for slot in found if slot.module.kind == "slices" and serves_all(slot.name)]
    return [f"{slot.name} serves all layers of its stack and stays in layer 0: it is that of {', '.join(slot.part.models)}." for slot in several]


def _check_range(source: Source, layout: Layout, stack: str) -> None:
    count = layout.stacks.get(stack, 0)
    first, end = source.layers or (0, 0)
    if end > count:
        source.place.refuse(f"layer_range [{first}, {end}] reaches beyond {source.model!r}, which has {count} layers {stack}.0 to {stack}.{count - 1}.")


def _same_names(left: str, a: tuple[str, ...], right: str, b: tuple[str, ...]) -> None:
    if set(a) != set(b):
        apart = difference(a, b).replace("the first", left).replace("the second", right)
        raise NamesDiffer(f"{left} and {right} hold different tensors: {apart}; merge needs the same names and layers in all of them.")
