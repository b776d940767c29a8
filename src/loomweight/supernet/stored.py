"""A stored tensor and the leaves that stand for parts of it.

A leaf is a parameter whose memory is a view of the stored tensor: modules use it, its gradient has the size of the part, and an
optimizer that steps on it writes into the stored tensor. Nothing of the stored tensor outside the part is touched.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .guard import guard, guarded
from .parts import Layout, Part, Region, Values


@dataclass(eq=False)
class Leaf:
    """A part in use: `tensor` is what modules hold; `part` is None for the whole stored tensor."""

    stored: "Stored"
    tensor: Tensor
    part: Part | None = None
    region: Region = ()

    def view(self, whole: Tensor) -> Tensor:
        """The same part of another tensor of the stored shape, an optimizer's state."""
        return whole if self.part is None else self.part.view(whole, self.region)

    def covers(self, other: "Leaf") -> bool:
        """True where every entry of the other one is also in this one."""
        if self.part is None:
            return True
        inside = all(a[0] <= b[0] and b[1] <= a[1] for a, b in zip(self.region, other.region, strict=True)) if self.part is other.part else False
        return inside

    def inside(self, grad: Tensor, other: "Leaf") -> Tensor:
        """The other leaf's part of this leaf's gradient."""
        if self.part is None:
            return other.view(grad)
        for axis, ((begin, _), (start, end)) in enumerate(zip(self.region, other.region, strict=True)):
            grad = grad.narrow(axis, start - begin, end - start)
        return grad


@dataclass(eq=False)
class Stored:
    """One physical tensor of the supernet.

    Args:
        name: its name in the model.
        tensor: a parameter, or a buffer.
        layout: its parts; None where it never varies.
    """

    name: str
    tensor: Tensor
    layout: Layout | None = None
    leaves: dict[tuple[int, Region], Leaf] = field(default_factory=dict)
    used: dict[int, Leaf] = field(default_factory=dict)
    whole: Leaf = field(init=False)

    def __post_init__(self) -> None:
        self.whole = Leaf(self, self.tensor)

    def leaf(self, part: Part, region: Region) -> Leaf:
        """The leaf of a region, one object for each."""
        key = (id(part), region)
        if key not in self.leaves:
            view = part.view(self.tensor.detach(), region)
            tensor = nn.Parameter(view, self.tensor.requires_grad) if isinstance(self.tensor, nn.Parameter) else view
            if guarded(self.tensor):
                guard([tensor])
            self.leaves[key] = Leaf(self, tensor, part, region)
        return self.leaves[key]

    def pieces(self, values: Values) -> list[Leaf]:
        """The leaf of each part; where all are whole, the stored tensor alone."""
        assert self.layout is not None
        regions = [part.region(values) for part in self.layout.parts]
        if all(
            end - begin == cut.length
            for part, region in zip(self.layout.parts, regions, strict=True)
            for cut, (begin, end) in zip(part.flat, region, strict=True)
        ):
            return [self.whole]
        return [self.leaf(part, region) for part, region in zip(self.layout.parts, regions, strict=True)]

    def with_gradient(self) -> Iterator[Leaf]:
        """Leaves that a backward pass has reached since gradients were cleared."""
        if self.whole.tensor.grad is not None:
            yield self.whole
        yield from (leaf for leaf in self.leaves.values() if leaf.tensor.grad is not None)

    def clear(self, set_to_none: bool = True) -> None:
        """Drop the gradients."""
        for leaf in list(self.with_gradient()):
            if set_to_none:
                leaf.tensor.grad = None
            else:
                leaf.tensor.grad.zero_()  # type: ignore[union-attr]

    def freeze(self) -> None:
        """Parts ask for gradients where the whole does."""
        for leaf in self.leaves.values():
            leaf.tensor.requires_grad_(self.tensor.requires_grad)

    def forget(self) -> None:
        """Drop the leaves; their memory may be another one now."""
        self.leaves.clear()
        self.whole = Leaf(self, self.tensor)


class Assembled(nn.Module):
    """Derivation of a tensor that is used in pieces: the whole stored tensor, or its parts put together.

    `stored` and `part_0`, `part_1`, ... are entries that a slot puts in place; either the first or the others are None.
    """

    def __init__(self, stored: nn.Parameter, layout: Layout) -> None:
        super().__init__()
        self.stored = stored
        self._layout = layout
        for i in range(len(layout.parts)):
            self.register_parameter(f"part_{i}", None)

    def forward(self) -> Tensor:
        """The tensor in use."""
        entries: dict[str, Any] = self._parameters
        whole = entries["stored"]
        return whole if whole is not None else self._layout.assembled([entries[f"part_{i}"] for i in range(len(self._layout.parts))])


def parameters_of(pieces: list[Leaf], count: int) -> dict[str, Tensor | None]:
    """Entries of an `Assembled` for these pieces."""
    if pieces[0].part is None:
        return {"stored": pieces[0].tensor, **{f"part_{i}": None for i in range(count)}}
    return {"stored": None, **{f"part_{i}": leaf.tensor for i, leaf in enumerate(pieces)}}


def dense(tensor: Tensor) -> bool:
    """True for what may be cut at all."""
    return tensor.layout == torch.strided
