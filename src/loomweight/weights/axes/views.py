"""Which nodes of a graph are names of the same memory: a write through one of them is seen by the others."""

from collections.abc import Sequence

import torch
from torch.fx import Graph, Node


class Views:
    """Groups of nodes that share memory: an operation whose result aliases an argument, and that argument."""

    def __init__(self, graph: Graph) -> None:
        self.place = {node: number for number, node in enumerate(graph.nodes)}
        self.base: dict[Node, Node] = {}
        for node in graph.nodes:
            source = _seen(node)
            self.base[node] = self.base[source] if source else node
        self.members: dict[Node, list[Node]] = {}
        for node, base in self.base.items():
            self.members.setdefault(base, []).append(node)

    def of(self, node: Node) -> Sequence[Node]:
        """Every name of the memory that a node names."""
        return self.members[self.base[node]]

    def others_used_after(self, write: Node) -> bool:
        """Whether memory written to is used later under another name than the one written to or the result."""
        target = write.args[0]
        others = [name for name in self.of(target) if name not in (target, write)]  # type: ignore[arg-type]
        return any(self.place[user] > self.place[write] and not _follows(name, write) for name in others for user in name.users)


def _follows(name: Node, write: Node) -> bool:
    """Whether a name was made from the result of the write, not before it."""
    while (source := _seen(name)) is not None:
        if source is write:
            return True
        name = source
    return False


def _seen(node: Node) -> Node | None:
    """The argument whose memory the result names too."""
    if node.op != "call_function":
        return None
    if not isinstance(node.target, torch._ops.OpOverload):
        first = node.args[0] if node.args else None
        return first if isinstance(first, Node) and "getitem" in str(node.target) else None
    schema = node.target._schema
    for argument, value in zip(schema.arguments, node.args, strict=False):
        if isinstance(value, Node) and argument.alias_info is not None:
            return value
    return node.args[0] if isinstance(node.args[0], Node) and schema.name in _MAYBE else None  # type: ignore[return-value]


#: results that may or may not be views, which their schemas do not say
_NAMES = "reshape contiguous to flatten ravel type_as expand_as float double half dropout pad"
_MAYBE = frozenset(f"aten::{name}" for name in _NAMES.split())
