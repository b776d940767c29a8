"""The server's half of zeroth-order training.

Paper: Just One Byte (per gradient): A Note on Low-Bandwidth Decentralized Language Model Finetuning Using Shared Randomness (2023,
https://arxiv.org/abs/2306.10015), section 3.
"""

from dataclasses import dataclass

import torch

from ...errors import BadParameter
from ..lowcomm.one_byte import applied
from ..plain import Plain, Reply, Tensors
from .aggregate import Aggregate, Book, kept

_TERM = "OneByteGradient"


@dataclass(frozen=True)
class OneByteStep(Aggregate):
    """w <- w - lr mean_i g_i z_i, where z_i follows from the seed, client i and the round, and g_i came in a byte.

    Up goes a byte for each client; down go the weights, since a server cannot know what its clients still have. `OneByte` has no server, and a byte both ways.

    Args:
        lr: the step along the mean.
        seed: of all z, that of `OneByteGradient`.

    Raises:
        BadParameter: lr is not positive.

    >>> OneByteStep(lr=0.1)
    OneByteStep(lr=0.1, seed=0)
    """

    lr: float
    seed: int = 0
    partial = True

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise BadParameter(f"OneByteStep: lr is positive, found {self.lr}.")

    def wrong(self, reply: Reply) -> str | None:
        """The byte alone."""
        byte = reply.extra.get(_TERM, {}).get("byte")
        fits = byte is not None and byte.dtype == torch.int8 and byte.shape == (1,) and not reply.update
        return None if fits else "it is not one byte; add OneByteGradient() to the objective"

    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        """Every client's step, in the order of the tasks."""
        moved = {name: tensor.clone() for name, tensor in weights.items()}
        applied(moved, self.seed, book.round, [(reply.client, int(reply.extra[_TERM]["byte"])) for reply in kept(held)], self.lr)
        return moved, state
