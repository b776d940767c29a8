"""One network in the coordinates of another: what `loomweight align` does, and what a recipe's key `align` does before its rule."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import Any

from torch import nn

from ..edits import Edit
from ..errors import BadParameter, BrokenFile, NamesDiffer, ShapesDiffer, unknown
from ..weights import Block, Spec, Weights, from_module
from ..weights.algebra import keep
from ..weights.axes import Axes, axes, axes_of, table_for
from ..weights.names import difference
from .named import called, named
from .network import Network, network
from .pick import ordered

METHODS = ("weights", "activations", "ot")
Config = Mapping[str, Any]


@dataclass(frozen=True)
class How:
    """How networks are brought into one order of units.

    Args:
        method: "weights" (weight matching), "activations" (activation matching: needs a model and data), or "ot" (optimal transport:
            other widths too; by activations where there are a model and data, else by weights).
        model: `module:factory` or a Transformers config, see `network`; it is traced for the table, where no table is given.
        table: a file with an axes table. Without model and table the family's table is used, by `config.json`.
        example: `module:function`, inputs to trace the model on.
        data: `module:function`, batches.
        seed: of the matching.

    Raises:
        UnknownName: no such method.
        BadParameter: activations without a model or without data; data without a model.
    """

    method: str = "weights"
    model: str | None = None
    table: str | None = None
    example: str | None = None
    data: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise unknown("way to align", self.method, METHODS)
        if self.method == "activations" and not (self.model and self.data):
            raise BadParameter("activations are those of a model on data: give both, a model (module:factory, or a Transformers config) and data.")
        if self.data and (self.method == "weights" or not self.model):
            lacking = "the method weights looks at no data; take activations or ot" if self.method == "weights" else "data needs a model to run on"
            raise BadParameter(f"{lacking}, or leave data out.")


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

    @cached_property
    def data(self) -> list[Any]:
        """The batches that `how` names."""
        name = self.how.data or ""
        found = called(named(name, "data"), name)
        if not isinstance(found, Iterable):
            raise BadParameter(f"{name}() gives a {type(found).__name__}, not batches that can be gone through.")
        return list(found)

    def table(self, side: Side) -> Axes:
        """The axes table of a set.

        Raises:
            UnknownName: no such file; or no family's table fits, and neither a model nor a table is given.
            NamesDiffer, ShapesDiffer: the table does not fit; the message says where, and which set.
        """
        if self.how.table:
            return table_for(_text(self.how.table), side.weights, self.how.table)
        if not self.how.model:
            return axes_of(side.weights, side.config)
        try:
            self.traced.fits(side.weights)
        except (NamesDiffer, ShapesDiffer) as error:
            raise type(error)(f"{side.weights.label or 'a set'} does not fit {self.how.model}: {error}") from error
        layouts = {name: self.traced.layouts[name] for name in side.weights.names}
        return Axes(self.traced.spaces, layouts, self.traced.how, self.traced.notes)

    def bring(self, moving: Side, reference: Side, without: Callable[[str], bool] = lambda name: False) -> Weights:
        """The moving set in the coordinates of the reference; headers are compared now, data is read when the first tensor is opened.

        Args:
            without: true for tensors that are left as they are, and need not be in both.

        Raises:
            NamesDiffer, ShapesDiffer: the networks are not of one family, or the table does not fit; the message names the tensor.
        """
        names = _common(moving, reference, without)
        config = reference.config or moving.config
        ours = Side(keep(moving.weights, names), moving.config or config)
        theirs = Side(keep(reference.weights, names), config)
        tables = self.table(ours), self.table(theirs)
        _same_widths(self.how.method, ours.weights, theirs.weights)
        made: list[Weights] = []

        def open_(name: str) -> Block:
            with self._lock:
                made.extend([] if made else [self._edit(tables, ours.weights, theirs.weights)(ours.weights)])
            return made[0].open(name) if name in made[0] else moving.weights.open(name)

        spec = {name: Spec(theirs.weights.spec[name].shape, s.dtype) if name in theirs.weights else s for name, s in moving.weights.spec.items()}
        spec |= {alias: spec[owner] for alias, owner in moving.weights.ties.items()}
        sources = tuple(dict.fromkeys((*moving.weights.sources, *reference.weights.sources)))
        origin = ("aligned", self.how, str(tables[1]), moving.weights, reference.weights)
        return Weights(spec, open_, ties=moving.weights.ties, origin=origin, label=moving.weights.label, sources=sources)

    def _edit(self, tables: tuple[Axes, Axes], moving: Weights, reference: Weights) -> Edit:
        from .. import align  # it brings SciPy along

        ours, theirs = tables
        if self.how.method == "weights":
            return align.weight_matching(theirs, moving, reference, seed=self.how.seed)
        if not self.how.data:
            return align.ot_fusion(ours, moving, theirs, reference)
        mine, yours = holding(self.network.model, moving), holding(self.network.model, reference)
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

    own = from_module(model)
    if all(name in weights for name in own.names):
        return loaded(model, weights)
    ties = {alias: owner for alias, owner in own.ties.items() if alias not in weights and owner in weights}
    return loaded(model, ordered(weights, [name for name in own.names if name in weights or name in ties], {**weights.ties, **ties}))


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
        raise NamesDiffer(f"{sides} are not of one family{families}, so no units correspond: {difference(here, there)}.")
    return names


def _same_widths(method: str, moving: Weights, reference: Weights) -> None:
    if method == "ot":
        return
    for name in reference.names:
        ours, theirs = moving.spec[name].shape, reference.spec[name].shape
        if ours != theirs:
            sides = f"{moving.label or 'the moving set'} and {theirs} in {reference.label or 'the reference'}"
            raise ShapesDiffer(f"tensor {name!r} has shape {ours} in {sides}; matching keeps widths: optimal transport (ot) goes from one width to another.")
