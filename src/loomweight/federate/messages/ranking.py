"""Scores as ranks: orders, places, and the scores that ranks stand for."""

from math import prod

import torch
from torch import Tensor

from ...errors import BadReply
from .packing import packed_bits, unpacked_bits


def places(scores: Tensor) -> Tensor:
    """The rank of each entry, 0 for the least; of equal ones the first is less.

    >>> places(torch.tensor([0.5, 0.1, 0.7]))
    tensor([1, 0, 2])
    """
    order = scores.flatten().argsort(stable=True)
    found = torch.empty_like(order)
    found[order] = torch.arange(len(order))
    return found.reshape(scores.shape)


def ladder(ranks: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Scores with these ranks: evenly spaced up to 1 / sqrt(inputs).

    >>> ladder(torch.tensor([[1, 0, 2, 3]]))
    tensor([[0.2500, 0.1250, 0.3750, 0.5000]])
    """
    return ((ranks.double() + 1) / (ranks.numel() * prod(ranks.shape[1:]) ** 0.5)).to(dtype)


def packed_ranks(ranks: Tensor) -> Tensor:
    """Bits side by side: for n entries ceil(log2 n) each.

    >>> packed_ranks(torch.tensor([1, 0, 2])).tolist()
    [33]
    """
    flat, width = ranks.flatten(), bits_for(ranks.numel())
    return packed_bits(((flat[:, None] >> torch.arange(width)) & 1).to(torch.uint8), 1)


def unpacked_ranks(packed: Tensor, like: Tensor, name: str) -> Tensor:
    """Ranks in the shape of `like`.

    Raises:
        BadReply: what is packed is not each rank once.
    """
    width = bits_for(like.numel())
    bits = unpacked_bits(packed, 1, like.numel() * width, name).long().reshape(-1, width)
    ranks = (bits << torch.arange(width)).sum(1)
    if not torch.equal(ranks.sort().values, torch.arange(like.numel())):
        raise BadReply(f"tensor {name!r} should hold each rank from 0 to {like.numel() - 1} once.")
    return ranks.reshape(like.shape)


def bits_for(count: int) -> int:
    """Of a rank among so many.

    >>> bits_for(1), bits_for(8), bits_for(9)
    (1, 3, 4)
    """
    return max(1, (count - 1).bit_length())
