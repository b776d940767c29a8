"""What several passes need, computed once where it is small."""

import torch
from torch import Tensor

from .spec import BLOCK, Block, spans

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
