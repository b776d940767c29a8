"""Gradients of subnets added up over processes that may have used different parts of a tensor.

Each process has gradients on some leaves. For every stored tensor all processes agree on leaves that do not overlap and together hold what any of them
used: the largest leaf where it covers the others, the whole tensor where one process used it whole, and else the cells between all their edges. Only these
are sent, so that a step of small subnets sends little, and entries that nobody used get no gradient.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed

from .elastic import Elastic
from .parts import Region, cells
from .stored import Leaf, Stored

#: (number of the part, its region); -1 and an empty region for a whole tensor
Use = tuple[int, Region]
#: stored tensor -> its uses by one process
Uses = dict[str, list[Use]]


def uses_of(net: Elastic) -> Uses:
    """Where this process has gradients."""
    found: Uses = {}
    for one in _tensors(net):
        for leaf in one.with_gradient():
            number = -1 if leaf.part is None or one.layout is None else next(i for i, part in enumerate(one.layout.parts) if part is leaf.part)
            found.setdefault(one.name, []).append((number, leaf.region))
    return {name: sorted(uses) for name, uses in found.items()}


def averaged(net: Elastic, uses: Sequence[Uses], *, by_users: bool, group: Any = None) -> None:
    """Replace the gradients of this process by the average over all.

    Args:
        net: the elastic model, with this process's gradients.
        uses: of every process, in the order of ranks; the same everywhere.
        by_users: divide each entry by the number of processes that used it, not by the number of all.
        group: of processes.
    """
    targets = [(one, leaf) for one in _tensors(net) for leaf in _agreed(one, [use.get(one.name, []) for use in uses])]
    flats, buffers = _buffers([leaf.tensor for _, leaf in targets])
    for (one, target), buffer in zip(targets, buffers, strict=True):
        for leaf in one.with_gradient():
            assert leaf.tensor.grad is not None
            _add(target, buffer, leaf, leaf.tensor.grad)
    for flat in flats:
        distributed.all_reduce(flat, group=group)
        if not by_users:
            flat /= len(uses)
    for one in _tensors(net):
        one.clear()
    for (one, target), buffer in zip(targets, buffers, strict=True):
        if by_users:
            buffer /= _users(one, target, uses)
        target.tensor.grad = buffer


def _tensors(net: Elastic) -> list[Stored]:
    """Parameters, each once, in the order of their names."""
    found = {id(one): one for one in net.stored().values() if one.tensor.requires_grad}
    return list(found.values())


def _agreed(one: Stored, uses: Sequence[Sequence[Use]]) -> list[Leaf]:
    """Leaves that do not overlap and hold all that is used."""
    together = sorted({use for several in uses for use in several})
    if any(number == -1 for number, _ in together):
        return [one.whole]
    found: list[Leaf] = []
    for number in sorted({number for number, _ in together}):
        regions = [region for other, region in together if other == number]
        leaves = [_leaf(one, (number, region)) for region in regions]
        largest = max(leaves, key=lambda leaf: leaf.tensor.numel())
        found += [largest] if all(largest.covers(leaf) for leaf in leaves) else [_leaf(one, (number, cell)) for cell in cells(regions)]
    return found


def _leaf(one: Stored, use: Use) -> Leaf:
    number, region = use
    if number == -1 or one.layout is None:
        return one.whole
    return one.leaf(one.layout.parts[number], region)


def _add(target: Leaf, buffer: Tensor, leaf: Leaf, source: Tensor) -> None:
    """Add what is known of a leaf's entries to those of a target; a target lies in a leaf, holds it, or does not meet it."""
    if target.covers(leaf):
        target.inside(buffer, leaf).add_(source)
    elif leaf.covers(target):
        buffer.add_(leaf.inside(source, target))


def _users(one: Stored, target: Leaf, uses: Sequence[Uses]) -> Tensor:
    """How many processes used each entry."""
    count = torch.zeros_like(target.tensor, requires_grad=False)
    for use in uses:
        mine = torch.zeros_like(count)
        for leaf in (_leaf(one, each) for each in use.get(one.name, [])):
            _add(target, mine, leaf, torch.ones_like(leaf.tensor, requires_grad=False))
        count += mine > 0
    return count.clamp(min=1)


def _buffers(tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """A flat tensor of zeros for each type, and a view into it for each tensor."""
    sizes: dict[Any, int] = {}
    places = []
    for tensor in tensors:
        kind = tensor.dtype, tensor.device
        places.append((kind, sizes.get(kind, 0)))
        sizes[kind] = places[-1][1] + tensor.numel()
    flats = {kind: torch.zeros(size, dtype=kind[0], device=kind[1]) for kind, size in sizes.items()}
    return list(flats.values()), [flats[kind][begin : begin + t.numel()].view(t.shape) for t, (kind, begin) in zip(tensors, places, strict=True)]
