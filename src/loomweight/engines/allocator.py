"""Freed blocks stay with the process for the next block.

glibc gives memory at the top of its heap back to the system once more than a threshold of it is free, at first 128 KiB. Work on
blocks frees and takes a few half-MiB blocks again and again, so every block would be mapped and zeroed anew: measured, half of
the time of a TIES merge (bench/pointwise.py). The threshold is twice the largest mapped piece that was ever freed, 32 MiB at
most. So freeing one such piece, which was never touched and costs nothing, settles it for all threads. Other allocators and
systems are not affected.
"""

import torch

#: just under the largest piece that glibc still learns from
_PIECE = 31 << 20


def keep_freed_blocks() -> None:
    """Let up to 62 MiB of freed memory stay mapped."""
    torch.empty(_PIECE, dtype=torch.uint8)
