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

    Parts pack in their order and open in the opposite one; a part may do so with the weights on their way down too. What a part packs is
    what is counted in bytes, so one that compresses really encodes. A part that changes the update and encodes nothing opens to what it is given.
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

    def pack_down(self, weights: Tensors, client: str) -> Tensors:
        """Server: the weights on their way to this client, the other direction; by default they go as they are."""
        return weights

    def open_down(self, packed: Tensors, like: Mapping[str, Tensor], client: str) -> Tensors:
        """Client: the weights again; `like` are its model's tensors."""
        return packed


def opened(parts: Sequence[Message], packed: Tensors, like: Mapping[str, Tensor]) -> Tensors:
    """What the server has of a packed update."""
    for part in reversed(parts):
        packed = part.open(packed, like)
    return packed


def packed_down(parts: Sequence[Message], weights: Tensors, client: str) -> Tensors:
    """What goes to a client."""
    for part in parts:
        weights = part.pack_down(weights, client)
    return weights


def opened_down(parts: Sequence[Message], packed: Tensors, like: Mapping[str, Tensor], client: str) -> Tensors:
    """What the client makes of it."""
    for part in reversed(parts):
        packed = part.open_down(packed, like, client)
    return packed
