"""One network in the coordinates of another: what `loomweight align` does, and what a recipe's key `align` does before its rule."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from threading import Lock
from typing import Any

from torch import nn

from ..edits import Edit
from ..errors import BadParameter, BrokenFile, NamesDiffer, ShapesDiffer
from ..weights import Block, Spec, Weights, from_module
from ..weights.algebra import keep
from ..weights.axes import Axes, axes, axes_of, table_for
from ..weights.names import difference
from .alignment import How
from .depth import check_depths, deeper_stack, other_depth
from .filing import filing, in_modules
from .named import called, named
from .network import Network, network
from .pick import ordered

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Side:
    """A network: its weights, and its `config.json` if it has one."""

    weights: Weights
    config: Config | None = None


class Coordinates:
    """Aligns several sets to one; what is named in `how` is built or read once."""

    def __init__(self, how: How) -> None:
        self.how = how
        self._lock = Lock()

    @cached_property
    def network(self) -> Network:
        """The model that `how` names."""
        return network(self.how.model or "", self.how.example)

    @cached_property
    def traced(self) -> Axes:
        """The table that tracing the model finds."""
        return axes(self.network.model, self.network.example)

    @property
    def notes(self) -> tuple[str, ...]:
        """What tracing has left alone, a sentence each; of a table that was given nothing is known."""
        own = self.traced.notes if self.how.model and not self.how.table else ()
        return tuple(dict.fromkeys((*own, *(() if self.moving is self else self.moving.notes))))

    @cached_property
    def data(self) -> list[Any]:
        """The batches that `how` names."""
        name = self.how.data or ""
        found = called(named(name, "data"), name)
        if not isinstance(found, Iterable):
            raise BadParameter(f"{name}() gives a {type(found).__name__}, not batches that can be gone through.")
        return list(found)

    @cached_property
    def moving(self) -> "Coordinates":
        """What is known of the networks that are moved: the same, unless `how` names another model or table for them."""
        how = self.how
        if not how.moving_model and not how.moving_table:
            return self
        table = how.moving_table or (None if how.moving_model else how.table)
        return Coordinates(replace(how, model=how.moving_model or how.model, table=table, moving_model=None, moving_table=None))

    def table(self, side: Side) -> Axes:
        """The axes table of a set.

        Raises:
            UnknownName: no such file; or no family's table fits, and neither a model nor a table is given.
            NamesDiffer, ShapesDiffer: the table does not fit; the message says where, and which set.
        """
        source = self.how.table or self.how.model or "the axes table"
        try:
            return self._table(replace(side, weights=self.in_modules(side.weights)))
        except (NamesDiffer, ShapesDiffer) as error:
            own = " Name its own with moving_model or moving_table." if self.how.method in ("ot", "depth") and self.moving is self else ""
            raise type(error)(f"{side.weights.label or 'a set'} does not fit {source}: {error}{own}") from error
        except BadParameter as error:
            raise BadParameter(f"{self.how.table}: {error}" if self.how.table else str(error)) from error

    def in_modules(self, weights: Weights) -> Weights:
        """A set under the names of the modules of the model, if `how` names one: Transformers may store it under others."""
        return in_modules(self.network.model, weights) if self.how.model else weights

    def _table(self, side: Side) -> Axes:
        if self.how.table:
            return table_for(_text(self.how.table), side.weights, self.how.table)
        if not self.how.model:
            return axes_of(side.weights, side.config)
        self.traced.fits(side.weights)
        layouts = {name: self.traced.layouts[name] for name in side.weights.names}
        return Axes(self.traced.spaces, layouts, self.traced.how, self.traced.notes)

    def bring(self, moving: Side, reference: Side, without: Callable[[str], bool] = lambda name: False) -> Weights:
        """The moving set in the coordinates of the reference; headers are compared now, data is read when the first tensor is opened.

        Args:
            without: true for tensors that are left as they are, and need not be in both.

        Raises:
            NamesDiffer, ShapesDiffer: the networks are not of one family, or the table does not fit; the message names the tensor.
        """
        here, there = self.moving.in_modules(moving.weights), self.in_modules(reference.weights)
        if here is not moving.weights or there is not reference.weights:
            filed = filing(self.network.model)
            left_out = without if filed is None else filed.dropping(without)
            brought = self.bring(replace(moving, weights=here), replace(reference, weights=there), left_out)
            return filed.outward(brought, moving.weights) if filed else brought
        deeper = self.how.method == "depth"
        names = [[n for n in side.weights.names if not without(n)] for side in (moving, reference)] if deeper else 2 * [_common(moving, reference, without)]
        config = reference.config or moving.config
        ours = Side(keep(moving.weights, names[0]), moving.config or config)
        theirs = Side(keep(reference.weights, names[1]), config)
        _same_widths(self.how.method, ours.weights, theirs.weights)
        tables = self.moving.table(ours), self.table(theirs)
        if deeper and not self.how.data:
            check_depths(tables, ours.weights, theirs.weights)
        made: list[Weights] = []

        def open_(name: str) -> Block:
            with self._lock:
                made.extend([] if made else [self._edit(tables, ours.weights, theirs.weights)(ours.weights)])
            return made[0].open(name) if name in made[0] else moving.weights.open(name)

        spec, ties = other_depth(moving.weights, ours.weights, theirs.weights) if deeper else _header(moving.weights, theirs.weights)
        sources = tuple(dict.fromkeys((*moving.weights.sources, *reference.weights.sources)))
        origin = ("aligned", self.how, str(tables[1]), moving.weights, reference.weights)
        return Weights(spec, open_, ties=ties, origin=origin, label=moving.weights.label, sources=sources)

    def _edit(self, tables: tuple[Axes, Axes], moving: Weights, reference: Weights) -> Edit:
        from .. import align  # it brings SciPy along

        ours, theirs = tables
        if self.how.method == "weights":
            return align.weight_matching(theirs, moving, reference, seed=self.how.seed)
        if not self.how.data:
            return (align.ot_fusion if self.how.method == "ot" else align.cla_fusion)(ours, moving, theirs, reference)
        mine, yours = holding(self.moving.network.model, moving), holding(self.network.model, reference)
        if self.how.method == "depth":
            evidence = align.layer_evidence(align.Network(ours, mine), align.Network(theirs, yours), self.data)
            return align.cla_fusion(ours, moving, theirs, reference, evidence=evidence)
        ours, theirs = _with_aliases(ours, mine), _with_aliases(theirs, yours)
        if self.how.method == "activations":
            return align.activation_matching(theirs, mine, yours, self.data)
        costs = align.activation_costs(align.Network(ours, mine), align.Network(theirs, yours), self.data)
        return align.ot_fusion(ours, moving, theirs, reference, costs=costs)


def holding(model: nn.Module, weights: Weights) -> nn.Module:
    """A copy of a model that holds a set; a second name of a shared tensor need not be stored.

    Raises:
        NamesDiffer, ShapesDiffer, TiesDiffer: the set is none of this model.

    >>> import torch
    >>> holding(nn.Linear(1, 1), Weights.of({"weight": torch.ones(1, 1), "bias": torch.ones(1)})).bias.item()
    1.0
    """
    from ..align import loaded

    own, weights = from_module(model), in_modules(model, weights)
    if all(name in weights for name in own.names):
        return loaded(model, weights)
    ties = {alias: owner for alias, owner in own.ties.items() if alias not in weights and owner in weights}
    return loaded(model, ordered(weights, [name for name in own.names if name in weights or name in ties], {**weights.ties, **ties}))


def _header(moving: Weights, reference: Weights) -> tuple[dict[str, Spec], Mapping[str, str]]:
    """What the moved set holds, with the reference's shapes, and which names share a tensor."""
    spec = {name: Spec(reference.spec[name].shape, s.dtype) if name in reference else s for name, s in moving.spec.items()}
    return spec | {alias: spec[owner] for alias, owner in moving.ties.items()}, moving.ties


def _with_aliases(table: Axes, model: nn.Module) -> Axes:
    """The table with the second names that a model has for shared tensors, and checkpoints leave out."""
    ties = {alias: owner for alias, owner in from_module(model).ties.items() if alias not in table.layouts and owner in table.layouts}
    return Axes(table.spaces, {**table.layouts, **{alias: table.layouts[owner] for alias, owner in ties.items()}}, table.how, table.notes)


def _text(file: str) -> str:
    from ..weights.locate import locate

    try:
        return locate(file).read_text("utf-8")
    except UnicodeDecodeError as error:
        raise BrokenFile(f"{file}: not a text file in UTF-8; an axes table is text.") from error
    except OSError as error:
        raise BrokenFile(f"{file}: cannot be read as an axes table: {error.strerror}.") from error


def _common(moving: Side, reference: Side, without: Callable[[str], bool]) -> list[str]:
    """Names that both hold; others must be second names of shared tensors, or left out."""
    ours, theirs = moving.weights, reference.weights
    names = [name for name in ours.names if name in theirs and not without(name)]
    here, there = ({n for n in a.names if n not in b and n not in a.ties and not without(n)} for a, b in ((ours, theirs), (theirs, ours)))
    if here or there:
        kinds = [side.config.get("model_type") if side.config else None for side in (moving, reference)]
        families = f" (a {kinds[0]} and a {kinds[1]})" if all(kinds) and kinds[0] != kinds[1] else ""
        sides = f"{ours.label or 'the moving set'} and {theirs.label or 'the reference'}"
        if pattern := deeper_stack(here, there, names):
            raise NamesDiffer(f"{sides} have different numbers of layers {pattern}: {difference(here, there)}; the method depth goes from one to another.")
        raise NamesDiffer(f"{sides} are not of one family{families}, so no units correspond: {difference(here, there)}.")
    return names


def _same_widths(method: str, moving: Weights, reference: Weights) -> None:
    if method in ("ot", "depth"):
        return
    for name in reference.names:
        ours, theirs = moving.spec[name].shape, reference.spec[name].shape
        if ours != theirs:
            sides = f"{moving.label or 'the moving set'} and {theirs} in {reference.label or 'the reference'}"
            raise ShapesDiffer(f"tensor {name!r} has shape {ours} in {sides}; matching keeps widths: optimal transport (ot) goes from one width to another.")
