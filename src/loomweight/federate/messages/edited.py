"""An edit of weight sets as a part of the message."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...edits.edit import Edit
from ...weights import Weights
from ..plain import Tensors
from .message import Message

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class Edited(Message):
    """The floating tensors of an update, edited; the message stays as large as it was.

    A strategy lifts edits by itself: `Strategy(message=(Trim(0.1),))` is the same.

    Args:
        edit: of `loomweight.edits`. A random edit draws the same numbers for every client.

    >>> from loomweight.edits import Scale
    >>> Edited(Scale(0.5)).pack({"w": torch.tensor([2.0])}, None)
    {'w': tensor([1.])}
    """

    edit: Edit

    def pack(self, update: Tensors, work: "Work") -> Tensors:
        """The edited update."""
        floating = {name: tensor for name, tensor in update.items() if tensor.is_floating_point()}
        edited = self.edit(Weights.of(floating))
        return {name: edited[name] if name in floating else tensor for name, tensor in update.items()}
