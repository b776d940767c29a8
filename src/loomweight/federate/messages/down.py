"""A part of the message on the way down."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ...errors import BadParameter
from ..plain import Tensors
from .half import Half
from .message import Message
from .top_k import TopK


@dataclass(frozen=True)
class Down(Message):
    """The server packs the weights that it sends by a part, and the client opens them; updates go up as they are.

    `Down(TopK(0.25))` sends the quarter of each tensor that is largest, and the client begins with zeros elsewhere. What it sends is what it trained less what
    it began with, so the server's own weights stay dense.

    Args:
        part: TopK or Half, which draw nothing and remember nothing.

    Raises:
        BadParameter: another part.

    >>> part = Down(TopK(0.5))
    >>> part.open_down(part.pack_down({"w": torch.tensor([1.0, -3.0])}, "ann"), {"w": torch.zeros(2)}, "ann")
    {'w': tensor([ 0., -3.])}
    """

    part: Message
    sums = True

    def __post_init__(self) -> None:
        if not isinstance(self.part, TopK | Half):
            raise BadParameter(f"Down: expected TopK or Half, which need no random numbers and no memory, found {self.part!r}.")

    def pack(self, update: Tensors, work: object) -> Tensors:
        """As it is."""
        return update

    def pack_down(self, weights: Tensors, client: str) -> Tensors:
        """As the part does."""
        return self.part.pack(weights, None)  # type: ignore[arg-type]

    def open_down(self, packed: Tensors, like: Mapping[str, Tensor], client: str) -> Tensors:
        """As the part does."""
        return self.part.open(packed, like)
