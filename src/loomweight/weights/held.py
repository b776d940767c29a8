"""What several passes need, computed once where it is small."""

from threading import local

import torch
from torch import Tensor

from .algebra import working
from .spec import BLOCK, Block, spans
from .weights import Weights

#: entries: 48 MiB of float32
MOST = 3 << 22


def held(read: Block, numel: int, rows: int = 1) -> Block:
    """The same block, from memory where all of it is small; a larger one is computed again by every pass. Never write into it.

    Args:
        read: gives entries [lo, hi) along its last axis.
        numel: how many entries there are along that axis.
        rows: how many such rows it gives at once.

    >>> asked = []
    >>> block = held(lambda lo, hi: asked.append((lo, hi)) or torch.arange(lo, hi), 4)
    >>> block(1, 3), block(0, 4), asked
    (tensor([1, 2]), tensor([0, 1, 2, 3]), [(0, 4)])
    """
    if not 0 < rows * numel <= MOST:
        return read
    parts = [read(lo, hi) for lo, hi in spans(numel)]

    def block(lo: int, hi: int) -> Tensor:
        here = [parts[at][..., max(lo - at * BLOCK, 0) : hi - at * BLOCK] for at in range(lo // BLOCK, -(-hi // BLOCK))]
        return here[0] if len(here) == 1 else torch.cat(here, dim=-1)

    return block


def again(read: Block, name: str = "", last: local | None = None) -> Block:
    """The same block; a thread that asks for the same entries again, up to `BLOCK` of them, gets them at once. Never write into it.

    Args:
        read: the block.
        name: the tensor's, where several share `last`.
        last: what each thread got last.

    >>> asked = []
    >>> block = again(lambda lo, hi: asked.append((lo, hi)) or torch.arange(lo, hi))
    >>> block(1, 3), block(1, 3), asked
    (tensor([1, 2]), tensor([1, 2]), [(1, 3)])
    """
    last = last or local()

    def block(lo: int, hi: int) -> Tensor:
        if hi - lo > BLOCK:
            return read(lo, hi)
        if getattr(last, "key", None) != (name, lo, hi):
            last.entries = read(lo, hi)
            last.key = (name, lo, hi)
        return last.entries

    return block


def remembered(weights: Weights) -> Weights:
    """The same set, where a thread has its last block at hand for whoever asks next: every difference asks for the base's."""
    last = local()

    def open_(name: str) -> Block:
        return again(working(weights, name), name, last)

    return Weights(weights.spec, open_, ties=weights.ties, origin=("remembered", weights), label=weights.label, sources=weights.sources)
