"""Walk a model's graph once and write down what every operation says about units."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_arg

from .call import Call, Handler, Hidden, Made
from .graph import Traced
from .labels import Act, Ledger
from .meeting import take_all
from .moves import MOVES, constant
from .places import PLACES
from .points import POINTS, UNTAGGED, pointwise
from .products import PRODUCTS
from .recurrent import RECURRENT
from .scales import note_scales
from .views import Views
from .windows import WINDOWS

HANDLERS: Mapping[str, Handler] = {**MOVES, **POINTS, **PLACES, **WINDOWS, **PRODUCTS, **RECURRENT}
#: what a handler raises when an operation has arguments that it was not written for
_NOT_WRITTEN_FOR = (AttributeError, IndexError, KeyError, TypeError, ValueError)
#: they ask for shapes, not for data
_SHAPES_ALONE = ("sym_", "size", "stride", "numel", "dim", "is_")


class Walk:
    """One pass over a graph.

    Args:
        traced: the graph.
        stored: parameter or buffer -> the name that owns its storage; what is not in it is in no checkpoint.
    """

    def __init__(self, traced: Traced, stored: Mapping[str, str]) -> None:
        self.traced, self.stored, self.ledger = traced, stored, Ledger()
        self.escaped = {stored[name] for name in traced.escaped if name in stored}
        self.values: dict[Node, Any] = {}
        self.live: set[Node] = set()
        self.views = Views(traced.graph)

    def run(self) -> Ledger:
        """All nodes in order."""
        for node in self.traced.graph.nodes:
            if node.op in ("placeholder", "get_attr"):
                self.values[node] = self._given(node)
            elif node.op == "output":
                for act in take_all(self._of(node.args)):
                    self.ledger.freeze(act, "")
            else:
                self.live |= {node} if self.live & set(node.all_input_nodes) else set()
                self.values[node] = self._called(node)
        for (name, _), units in self.ledger.slots.items():
            if name in self.escaped:
                self.ledger.frozen.append((units, "its data is used past the trace"))
        return self.ledger

    def _given(self, node: Node) -> Any:
        name = self.traced.names.get(node.name, "")
        example = _example(node) if node.op == "placeholder" else self.traced.constants.get(node.name)
        example = self.traced.constants.get(node.name, example)
        if not isinstance(example, Tensor):
            return example
        if name in self.stored:
            self.live.add(node)
            return self.ledger.parameter(self.stored[name], example.shape)
        made = self.ledger.fixed(example.shape)
        known = node.name in self.traced.constants and example.dtype == torch.int64 and example.ndim == 1 and type(example) is Tensor
        return replace(made, value=example.numpy(force=True)) if known else made

    def _of(self, value: Any) -> Any:
        """An argument with nodes replaced by what is known of them."""
        if isinstance(value, Node):
            known = self.values[value]
            return self._revealed(known) if isinstance(known, Hidden) else known
        if isinstance(value, list | tuple):
            return [self._of(item) for item in value]
        return value

    def _revealed(self, hidden: Hidden) -> Act:
        for act in hidden.sources:
            self.ledger.freeze(act, "a statistic of it is used")
        return self.ledger.fixed(hidden.shape)

    def _called(self, node: Node) -> Any:
        if node.target is operator.getitem:
            source, index = self.values[node.args[0]], node.args[1]  # type: ignore[index]
            return source[index] if isinstance(source, tuple | list) else source  # type: ignore[index]
        if not isinstance(node.target, torch._ops.OpOverload):
            return self._foreign(node)
        call = self._call(node)
        if elsewhere := _written_beside_first(node):
            return self._written_through(node, call, elsewhere)
        if not call.shapes:
            return self._number(node, call)
        if node.target._schema.is_mutable and not self._writes_alone(node):
            return self._written_through(node, call, [node.args[0]])  # type: ignore[list-item]
        made = self._handled(node, call)
        if made is None or [act.shape for act in _flat(made)] != list(call.shapes):
            made = self._unknown(node, call.name, call.acts)
        if call.acts:
            note_scales(self.ledger, call, take_all(made))
        if node.target._schema.is_mutable:
            self.values[node.args[0]] = made  # type: ignore[index]
        return made

    def _call(self, node: Node) -> Call:
        schema = node.target._schema  # type: ignore[union-attr]
        given = {argument.name: argument.default_value for argument in schema.arguments if argument.has_default_value()}
        given |= {argument.name: value for argument, value in zip(schema.arguments, self._of(list(node.args)), strict=False)}
        given |= {name: self._of(value) for name, value in node.kwargs.items()}
        name = schema.name.split("::")[1]
        name = name[:-1] if schema.is_mutable and name.endswith("_") else name
        return Call(name, given, _shapes_of(_example(node)))

    def _handled(self, node: Node, call: Call) -> Made:
        handler = HANDLERS.get(call.name)
        if not call.acts and handler is not constant:
            return None
        if handler is None and (torch.Tag.pointwise in node.target.tags or call.name in UNTAGGED):  # type: ignore[union-attr]
            handler = pointwise
        try:
            return handler(self.ledger, call) if handler else None
        except _NOT_WRITTEN_FOR:
            return None

    def _number(self, node: Node, call: Call) -> Any:
        """A number taken out of tensors: whatever they carry stays, since what happens next may depend on it."""
        if node.target._schema.returns and (not call.name.startswith(_SHAPES_ALONE) or call.name == "is_nonzero"):  # type: ignore[union-attr]
            for act in call.acts:
                self.ledger.freeze(act, f"{call.name} takes a number out of a tensor")
        return _example(node)

    def _foreign(self, node: Node) -> Any:
        """Not an operation of the library: a control-flow block, arithmetic of sizes."""
        acts = take_all(self._of([*node.args, *node.kwargs.values()]))
        return self._unknown(node, getattr(node.target, "__name__", str(node.target)), acts) if acts else _example(node)

    def _writes_alone(self, node: Node) -> bool:
        """Whether no other name of the memory that is written to is used later."""
        return not self.views.others_used_after(node)

    def _written_through(self, node: Node, call: Call, written: Sequence[Node]) -> Made:
        """Writing into a view changes the tensor under it: all of it stays as it is then."""
        names = [name for target in written for name in self.views.of(target) if isinstance(self.values.get(name), Act)]
        for act in [*call.acts, *(self.values[name] for name in names)]:
            self.ledger.freeze(act, f"{call.name}_ writes into a part of a tensor")
        self.ledger.left.append((f"{call.name}_", _module(node)))
        for name in names:
            self.values[name] = self.ledger.fixed(self.values[name].shape)
        self.values |= {target: self.ledger.fixed(self.values[target].shape) for target in written}
        made = tuple(self.ledger.fixed(shape) for shape in call.shapes)
        return made[0] if len(made) == 1 else made

    def _unknown(self, node: Node, name: str, acts: list[Act]) -> Any:
        """Not understood: what goes in stays as it is. What comes from no parameter is no matter."""
        if node in self.live:
            self.ledger.left.append((name, _module(node)))
            for act in acts:
                self.ledger.freeze(act, f"{name} in {_module(node)} is not understood")
        made = tuple(self.ledger.fixed(shape) for shape in _shapes_of(_example(node)))
        return made[0] if isinstance(_example(node), Tensor) else made


def _written_beside_first(node: Node) -> list[Node]:
    """The tensors that an operation writes to, unless that is its first argument alone: `out=`, lists of tensors."""
    schema = node.target._schema  # type: ignore[union-attr]
    written = [argument.name for argument in schema.arguments if argument.alias_info is not None and argument.alias_info.is_write]
    if not written or (written == [schema.arguments[0].name] and isinstance(node.args[0], Node)):
        return []
    given = {**dict(zip((argument.name for argument in schema.arguments), node.args, strict=False)), **node.kwargs}
    found: list[Node] = []
    map_arg([given[name] for name in written if given.get(name) is not None], found.append)
    return found


def _module(node: Node) -> str:
    stack = list((node.meta.get("nn_module_stack") or {"": ("", "")}).values())
    return stack[-1][0].removeprefix("L['self'].") or "the model"


def _flat(made: Made) -> list[Act | Hidden]:
    return list(made) if isinstance(made, tuple) else [made] if made else []


def _example(node: Node) -> Any:
    return node.meta.get("val", node.meta.get("tensor_meta"))


def _shapes_of(example: Any) -> list[tuple[int, ...]]:
    if isinstance(example, Tensor):
        return [tuple(example.shape)]
    return [tuple(item.shape) for item in example if isinstance(item, Tensor)] if isinstance(example, list | tuple) else []
