"""What a part of the message may do."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from ..plain import Tensors

if TYPE_CHECKING:
    from ..work import Work


class Message(ABC):
    """A part of the way from a client to the server, a frozen dataclass; the message of a strategy is a tuple of parts.

    Parts pack in their order and open in the opposite one. What a part packs is what is counted in bytes, so one that compresses
    really encodes. A part that changes the update and encodes nothing opens to what it is given.
    """

    #: whether the sum of packed updates opens to the sum of updates: what secure aggregation needs
    sums: bool = False
    #: whether an update may come back without some of its names
    partial: bool = False

    @abstractmethod
    def pack(self, update: Tensors, work: "Work") -> Tensors:
        """Client: the update on its way. It may keep something in `work.memory_of(self)` and draw from `work.generator`."""

    def open(self, packed: Tensors, like: Mapping[str, Tensor]) -> Tensors:
        """Server: the update again.

        Args:
            packed: what a client sent; it may be anything, so what does not fit raises `LoomweightError`.
            like: the server's tensors, for names, shapes and dtypes.
        """
        return packed


def opened(parts: Sequence[Message], packed: Tensors, like: Mapping[str, Tensor]) -> Tensors:
    """What the server has of a packed update."""
    for part in reversed(parts):
        packed = part.open(packed, like)
    return packed
