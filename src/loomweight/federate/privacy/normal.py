"""Normal numbers that a key gives again: nothing has to be kept to subtract, repeat or correlate noise."""

from hashlib import blake2b

import torch
from torch import Tensor


def normal(like: Tensor, *key: object) -> Tensor:
    """Standard normal numbers in the shape of a tensor, in float32 or better; the same for the same key.

    Torch's generator is good statistics and no cipher, and a float's last bits are not protected: against one who looks at those, noise
    has to be drawn otherwise.

    >>> torch.equal(normal(torch.zeros(3), 1, "w"), normal(torch.zeros(3), 1, "w"))
    True
    """
    seed = int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest()) >> 1
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(like.shape, generator=generator, dtype=torch.promote_types(like.dtype, torch.float32))
