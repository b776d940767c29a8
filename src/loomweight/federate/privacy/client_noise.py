"""Noise that clients add themselves, each a share of it: the server never sees the sum without.

Paper: Our Data, Ourselves: Privacy via Distributed Noise Generation (2006, https://doi.org/10.1007/11761679_29), section 3.
"""

import secrets
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

from torch import Tensor

from ...errors import BadParameter
from ..messages import Message
from ..plain import Tensors
from .clipping import clipped
from .normal import normal

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class ClientNoise(Message):
    """u -> clip(u) + N(0, (multiplier clip)^2 / clients): the sum over `clients` of them has noise of multiplier x clip.

    With one client each update is private by itself. With more, nobody may see single updates (secure aggregation), and as many clients have to
    answer: `GaussianNoise(added_by="clients")` counts what is spent when fewer do. Put it last, or before parts that compress.

    Args:
        multiplier: standard deviation of the noise on the sum, in units of `clip`.
        clip: the largest norm of an update.
        clients: among how many the noise is shared out.
        secret: draw the noise from the operating system, so that the task's seed does not give it away. False repeats an experiment.

    Raises:
        BadParameter: a number out of its range.

    >>> ClientNoise(multiplier=0.0, clip=1.0).pack({"a": torch.tensor([2.0])}, None)
    {'a': tensor([1.])}
    """

    multiplier: float
    clip: float
    clients: int = 1
    secret: bool = True
    sums = True

    def __post_init__(self) -> None:
        if not (self.multiplier >= 0 and self.clip > 0 and self.clients >= 1):
            raise BadParameter(f"{self}: clip is positive, multiplier is not negative, clients is at least 1.")

    @property
    def deviation(self) -> float:
        """Of one client's noise."""
        return self.multiplier * self.clip / sqrt(self.clients)

    def pack(self, update: Tensors, work: "Work") -> Tensors:
        """The clipped update with noise."""
        bounded = clipped(update, self.clip)
        if self.multiplier == 0:
            return bounded
        key = secrets.randbits(64) if self.secret else ("client noise", work.task.seed)
        return {name: _noised(tensor, self.deviation, key, name) for name, tensor in bounded.items()}


def _noised(tensor: Tensor, deviation: float, key: object, name: str) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    return (tensor + deviation * normal(tensor, key, name)).to(tensor.dtype)
