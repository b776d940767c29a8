"""Walk a model's graph once and write down what every operation says about units."""

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from .call import Call, Handler, Made
from .graph import Traced
from .labels import Act, Ledger
from .meeting import take_all
from .moves import MOVES, constant
from .points import POINTS, UNTAGGED, pointwise
from .products import PRODUCTS
from .recurrent import RECURRENT
from .scales import note_scales

HANDLERS: Mapping[str, Handler] = {**MOVES, **POINTS, **PRODUCTS, **RECURRENT}


class Walk:
    """One pass over a graph.

    Args:
        traced: the graph.
        stored: parameter or buffer -> the name that owns its storage; what is not in it is in no checkpoint.
    """

    def __init__(self, traced: Traced, stored: Mapping[str, str]) -> None:
        self.traced, self.stored, self.ledger = traced, stored, Ledger()
        self.values: dict[Node, Any] = {}
        self.live: set[Node] = set()

    def run(self) -> Ledger:
        """All nodes in order."""
        for node in self.traced.graph.nodes:
            if node.op in ("placeholder", "get_attr"):
                self.values[node] = self._given(node)
            elif node.op == "call_function":
                self._called(node)
            elif node.op == "output":
                for act in take_all(self._of(node.args)):
                    self.ledger.freeze(act, "")
        return self.ledger

    def _given(self, node: Node) -> Any:
        name = self.traced.names.get(node.name)
        example = _example(node) if node.op == "placeholder" else self.traced.constants.get(node.name)
        example = self.traced.constants.get(node.name, example)
        if not isinstance(example, Tensor):
            return example
        if name in self.stored:
            self.live.add(node)
            return self.ledger.parameter(self.stored[name], example.shape)
        return self.ledger.fixed(example.shape)

    def _of(self, value: Any) -> Any:
        """An argument with nodes replaced by what is known of them."""
        if isinstance(value, Node):
            return self.values.get(value)
        if isinstance(value, list | tuple):
            return [self._of(item) for item in value]
        return value

    def _called(self, node: Node) -> None:
        if node.target is operator.getitem:
            source, index = node.args
            self.values[node] = (self.values[source] or {index: None})[index]  # type: ignore[index]
            self.live |= {node} & ({node} if source in self.live else set())
            return
        if not isinstance(node.target, torch._ops.OpOverload):
            return
        alive = bool(self.live & set(node.all_input_nodes))
        self.live |= {node} if alive else set()
        call = self._call(node)
        if node.target._schema.is_mutable and self._written_through(node, call):
            return
        made = self._handled(node, call) if call.shapes else None
        if call.shapes and (made is None or [act.shape for act in take_all(made)] != list(call.shapes)):
            made = self._unknown(node, call, alive)
        if call.acts:
            note_scales(self.ledger, call, take_all(made))
        self.values[node] = made
        if node.target._schema.is_mutable and isinstance(made, Act):
            self.values[node.args[0]] = made  # type: ignore[index]

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
        if handler and (call.acts or handler is constant):
            return handler(self.ledger, call)
        if not call.acts:
            return None
        if torch.Tag.pointwise in node.target.tags or call.name in UNTAGGED:  # type: ignore[union-attr]
            return pointwise(self.ledger, call)
        return None

    def _written_through(self, node: Node, call: Call) -> bool:
        """Writing into a view changes the tensor under it: all of it stays as it is then."""
        base = node.args[0]
        chain = [base]
        while isinstance(base, Node) and base.op == "call_function" and str(base.target).split(".")[1] in MOVES and base.all_input_nodes:
            chain.append(base := base.all_input_nodes[0])
        if len(chain) < 2:
            return False
        for acts in (call.acts, [self.values[link] for link in chain]):  # type: ignore[index]
            for act in take_all(acts):
                self.ledger.freeze(act, f"{call.name} writes into a part of a tensor")
        self.ledger.left.append((f"{call.name}_", "the model"))
        for link in (node, *chain):
            self.values[link] = self.ledger.fixed(_shapes_of(_example(link))[0])  # type: ignore[arg-type,index]
        return True

    def _unknown(self, node: Node, call: Call, alive: bool) -> Made:
        """Not understood: what goes in stays as it is. What comes from no parameter is no matter."""
        if alive:
            where = list((node.meta.get("nn_module_stack") or {"": ("", "")}).values())[-1][0].removeprefix("L['self'].")
            self.ledger.left.append((call.name, where))
            for act in call.acts:
                self.ledger.freeze(act, f"{call.name} in {where or 'the model'} is not understood")
        made = tuple(self.ledger.fixed(shape) for shape in call.shapes)
        return made[0] if isinstance(_example(node), Tensor) else made


def _example(node: Node) -> Any:
    return node.meta.get("val", node.meta.get("tensor_meta"))


def _shapes_of(example: Any) -> list[tuple[int, ...]]:
    if isinstance(example, Tensor):
        return [tuple(example.shape)]
    return [tuple(item.shape) for item in example if isinstance(item, Tensor)] if isinstance(example, list | tuple) else []
