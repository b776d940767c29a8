"""What aggregates that weigh clients have in common: sums of updates with given shares, and their inner products."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..plain import Reply, Tensors


def mixed(replies: Sequence[Reply], shares: Sequence[float]) -> Tensors:
    """sum_k share_k * update_k, in float32 or better.

    >>> mixed([Reply("a", 0, {"w": torch.ones(2)}), Reply("b", 0, {"w": torch.zeros(2)})], [0.25, 0.75])
    {'w': tensor([0.2500, 0.2500])}
    """
    total: Tensors = {}
    for reply, share in zip(replies, shares, strict=True):
        for name, tensor in reply.update.items():
            if name not in total:
                total[name] = torch.zeros(tensor.shape, dtype=torch.promote_types(tensor.dtype, torch.float32))
            total[name].add_(tensor, alpha=float(share))
    return total


def examples(replies: Sequence[Reply], *, counts: bool = True) -> Tensor:
    """The clients' shares by their examples, or equal ones; they sum to 1, in float64."""
    weights = torch.tensor([float(reply.weight) if counts else 1.0 for reply in replies], dtype=torch.float64)
    return weights / weights.sum()


def inner_products(replies: Sequence[Reply]) -> Tensor:
    """<update_i, update_j> over all tensors, [n, n] in float64, tensor after tensor."""
    gram = torch.zeros(len(replies), len(replies), dtype=torch.float64)
    for name in replies[0].update:
        rows = torch.stack([reply.update[name].double().flatten() for reply in replies])
        gram += rows @ rows.T
    return gram
