"""What can be relaxed in a model: its fields, and what their coefficients do."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...derive import Quantised
from ...errors import BadParameter, unknown
from ...search import Choice as Options
from ...search import Space
from ..choice import Choice
from ..elastic import Elastic, Values
from ..join import Join
from ..slots import Change
from .coefficients import Field
from .effects import Bits, Depth, Edges, Norm, Operators, Weight, put
from .superposed import Superposed

Effect = Operators | Edges | Depth | Norm | Bits


@dataclass(frozen=True)
class Found:
    """A model's choices.

    Args:
        space: all fields, also those that are fixed.
        base: fixed fields and their values; the others at the largest.
        fields: what is relaxed.
        weights: name of a parameter -> where it is used.
        whole: name of a parameter -> the stored tensor.
        effects: what coefficients do beside superposing weights.
        run: runs the model.
        standing: while it is run relaxed.
        select: chooses a configuration.
    """

    space: Space
    base: Values
    fields: dict[str, Field]
    weights: dict[str, Weight]
    whole: dict[str, Tensor]
    effects: list[Effect]
    run: Callable[..., Any]
    standing: Callable[[], AbstractContextManager[Any]]
    select: Callable[[Values], Any]


def in_plain(model: nn.Module) -> Found:
    """The `Choice`s and `Join`s of any module.

    Raises:
        BadParameter: there is none.
    """
    modules = dict(model.named_modules())
    choices = {name or "model": module for name, module in modules.items() if isinstance(module, Choice) and len(module.names) > 1}
    joins = {name or "model": module for name, module in modules.items() if isinstance(module, Join) and len(module.options) > 1}
    if not choices and not joins:
        raise BadParameter("there is nothing to relax: the model is not elastic, and has no `Choice` and no `Join` with several options.")
    fields = {name: _operators(name, place.names, dict(place.named_children())) for name, place in choices.items()}
    fields |= {name: Field(name, tuple(range(len(node.edges))), (), node.count, True) for name, node in joins.items()}
    fields = {name: fields[name] for name in (name or "model" for name in modules) if name in fields}
    dimensions = {name: Options(joins[name].options if name in joins else field.options) for name, field in fields.items()}
    effects: list[Effect] = [Operators(name, place, place.names, {}) for name, place in choices.items()]
    effects += [Edges(name, node) for name, node in joins.items()]

    def select(values: Values) -> None:
        for name, place in choices.items():
            place.chosen = values[name]
        for name, node in joins.items():
            node.kept = values[name]

    weights, whole = _weights(model, model.named_parameters(), {})
    return Found(Space(dimensions), {}, fields, weights, whole, effects, model, nullcontext, select)


def in_elastic(net: Elastic, fixed: Mapping[str, Any]) -> Found:
    """The fields of an elastic model.

    Raises:
        UnknownName: a fixed field does not exist.
        BadParameter: a field cannot be relaxed and is not fixed, or nothing is left to relax.
    """
    for name in fixed:
        if name not in net.space.dimensions:
            raise unknown("field", name, net.space.dimensions)
    base = net.space.canonical({**net.max(), **fixed})
    options = {name: tuple(dimension.every()) for name, dimension in net.space.dimensions.items() if name not in fixed}
    with net.selected(net.max()):
        operators = list(_choices(net, options))
        depths = list(_depths(net, options))
        bits = list(_bits(net, options))
        with put(entry for effect in operators for entry in _candidates(effect)):
            norms = list(_norms(net, base, options))
            weights, whole = _weights(net.model, net.named_parameters(), _superposed(net, base, options))
    free = {effect.field: _operators(effect.field, effect.options, effect.modules) for effect in operators}
    sizes = {field for one in net.stored().values() if isinstance(one.tensor, nn.Parameter) and one.layout for field in one.layout.fields}
    able = {*free, *sizes, *(effect.field for effect in (*depths, *bits))}
    if wrong := [name for name in options if name not in able]:
        raise BadParameter(
            f"{wrong[0]!r} cannot be relaxed: its options are neither sizes nor first blocks nor candidates nor bits; give it a value in `fixed`."
        )
    if not options:
        raise BadParameter("there is nothing to relax: every field is fixed.")
    fields = {name: free.get(name, Field(name, several)) for name, several in options.items()}
    effects: list[Effect] = [*operators, *depths, *norms, *bits]
    return Found(net.space, base, fields, weights, whole, effects, net._run, lambda: net.selected(base), net.select)


def _operators(name: str, options: Sequence[str], modules: Mapping[str, nn.Module]) -> Field:
    return Field(name, tuple(options), tuple(not any(True for _ in modules[option].parameters()) for option in options))


def _candidates(effect: Operators) -> Iterator[Any]:
    return ((effect.choice._modules, name, module) for name, module in effect.modules.items())


def _changes(net: Elastic) -> Iterator[Change]:
    return (change for slot in net._made.slots for change in slot.changes)


def _choices(net: Elastic, options: Mapping[str, Sequence[Any]]) -> Iterator[Operators]:
    """Places of operators, with their candidates."""
    changes = [change for change in _changes(net) if isinstance(change.module, Choice)]
    for change in changes:
        if change.key == "chosen" and change.fields[0] in options:
            place, field = change.module, change.fields[0]
            made = {
                other.key: other.make({field: other.key})
                for other in changes
                if other.module is place and other.kind == "_modules" and other.key in options[field]
            }
            assert isinstance(place, Choice)
            yield Operators(field, place, tuple(options[field]), made)


def _depths(net: Elastic, options: Mapping[str, Sequence[Any]]) -> Iterator[Depth]:
    """Lists of blocks of which the first ones are kept."""
    for change in _changes(net):
        whole = change.module._modules.get(change.key) if change.kind == "_modules" else None
        if not isinstance(whole, nn.ModuleList | nn.Sequential) or isinstance(change.module, Choice) or change.fields[0] not in options:
            continue
        blocks = list(whole)
        kept = [list(change.make({change.fields[0]: option})) for option in options[change.fields[0]]]
        if all(several == blocks[: len(several)] for several in kept):
            yield Depth(change.fields[0], [several[-1] for several in kept], blocks[-1])


def _bits(net: Elastic, options: Mapping[str, Sequence[Any]]) -> Iterator[Bits]:
    """Weights that are rounded."""
    for change in _changes(net):
        if isinstance(change.module, Quantised) and change.key == "bits" and change.fields[0] in options:
            yield Bits(change.fields[0], change.module, options[change.fields[0]])


def _norms(net: Elastic, base: Values, options: Mapping[str, Sequence[Any]]) -> Iterator[Norm]:
    """LayerNorm and RMSNorm over one relaxed width, torch's and those of Transformers."""
    stored = {id(one.tensor): one for one in net.stored().values()}
    for module in net.model.modules():
        weight = module._parameters.get("weight")
        if not (isinstance(module, nn.LayerNorm | nn.RMSNorm) or hasattr(module, "variance_epsilon")) or weight is None:
            continue
        layout = stored[id(weight)].layout
        if layout and layout.plain and len(layout.parts[0].flat) == 1 and (cut := layout.parts[0].flat[0]).field in options:
            assert cut.field is not None
            ends = [cut.span({**base, cut.field: option}) for option in options[cut.field]]
            yield Norm(cut.field, module, torch.tensor([float(end - begin) for begin, end in ends]))


def _superposed(net: Elastic, base: Values, options: Mapping[str, Sequence[Any]]) -> dict[int, Superposed]:
    """By stored tensor: those that a field cuts, relaxed or fixed."""
    found: dict[int, Superposed] = {}
    for one in net.stored().values():
        if isinstance(one.tensor, nn.Parameter) and one.layout and one.layout.fields:
            found.setdefault(id(one.tensor), Superposed(one, base, options))
    return found


def _weights(model: nn.Module, named: Iterable[tuple[str, Tensor]], superposed: Mapping[int, Superposed]) -> tuple[dict[str, Weight], dict[str, Tensor]]:
    """Every parameter once, and all places that hold it."""
    whole = dict(named)
    names = {id(tensor): name for name, tensor in whole.items()}
    weights: dict[str, Weight] = {name: Weight([], superposed.get(id(tensor))) for name, tensor in whole.items()}
    for module in model.modules():
        for leaf, tensor in module._parameters.items():
            if tensor is not None:
                weights[names[id(tensor)]].places.append((module._parameters, leaf))
    return weights, whole
