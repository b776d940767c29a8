"""Clip an update before it leaves the client.

Paper: Learning Differentially Private Recurrent Language Models (2017, https://arxiv.org/abs/1710.06963), section 2.3, flat clipping.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import BadParameter
from ..messages import Message
from ..plain import Tensors
from .clipping import clipped

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class ClipTo(Message):
    """u -> u min(1, norm / ||u||), the norm over all tensors that travel. Put it before parts that compress.

    A server that clips by itself (`GaussianNoise`) does not need it; one that sees only a sum has to trust it.

    Args:
        norm: the largest that leaves.

    Raises:
        BadParameter: it is not positive.

    >>> ClipTo(1.0).pack({"a": torch.tensor([3.0]), "b": torch.tensor([4.0])}, None)
    {'a': tensor([0.6000]), 'b': tensor([0.8000])}
    """

    norm: float
    sums = True

    def __post_init__(self) -> None:
        if not self.norm > 0:
            raise BadParameter(f"ClipTo: the norm is positive, found {self.norm}.")

    def pack(self, update: Tensors, work: "Work") -> Tensors:
        """The clipped update."""
        return clipped(update, self.norm)
