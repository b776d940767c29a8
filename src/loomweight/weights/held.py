"""What several passes need, computed once where it is small."""

from .spec import Block, spans

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
    first, *rest = spans(numel)
    start = read(*first)
    memory = start.new_empty((*start.shape[:-1], numel))
    memory[..., : first[1]] = start
    for lo, hi in rest:
        memory[..., lo:hi] = read(lo, hi)
    return lambda lo, hi: memory[..., lo:hi]
