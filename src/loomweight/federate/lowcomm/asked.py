"""What a form of messages may ask for where there is no client: numbers to draw from, and nothing else."""

from hashlib import blake2b
from typing import Any, NoReturn

import torch

from ...errors import BadParameter


class Asked:
    """Stands for a client's work while a worker packs its update.

    Args:
        key: worker, round and part; what is drawn depends on it alone, so that a round that is ended again sends the same.
    """

    task = None

    def __init__(self, key: tuple[Any, ...]) -> None:
        self.generator = torch.Generator().manual_seed(int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest(), "big") >> 1)

    def memory_of(self, part: object) -> NoReturn:
        """A worker keeps none: what it was told to remember would be wrong when a round is ended again without a member."""
        told = f"{part} keeps what it has left out from one message to the next, which workers that may end a round twice cannot"
        raise BadParameter(f"{told}; use one without memory.")
