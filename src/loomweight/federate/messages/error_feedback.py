"""What a message leaves out is sent later.

Paper: Error Feedback Fixes SignSGD and other Gradient Compression Schemes (2019, https://arxiv.org/abs/1901.09847), algorithm 2.

Read: epfml/error-feedback-SGD, whose step is local; here the update of a whole round takes the place of rate * gradient.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from ...errors import BadParameter
from ..plain import Tensors
from .message import Message

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class ErrorFeedback(Message):
    """part(update + e) is sent, and e <- update + e - what the server sees of it, which the client keeps: a model's worth of memory each.

    Whatever the part is, the sum of what the server has seen and of e is the sum of the updates. Once in a message, around its first part.

    Args:
        part: that leaves something out.

    Raises:
        BadParameter: the part is none.

    >>> from loomweight.federate import Strategy, TopK
    >>> strategy = Strategy(message=(ErrorFeedback(TopK(0.01)),))
    """

    part: Message

    def __post_init__(self) -> None:
        if not isinstance(self.part, Message):
            raise BadParameter(f"ErrorFeedback: expected a part of a message, found {self.part!r}.")

    @property
    def partial(self) -> bool:  # type: ignore[override]
        """As the part's."""
        return self.part.partial

    def pack(self, update: Tensors, work: "Work") -> Tensors:
        """The part's packing of the update and of what was left out before."""
        memory = work.memory_of(self)
        error = memory.get("error", {})
        whole = {name: tensor + error[name] if name in error else tensor for name, tensor in update.items()}
        packed = self.part.pack(whole, work)
        seen = self.part.open(packed, work.task.weights)
        memory["error"] = {name: tensor - seen[name] for name, tensor in whole.items() if tensor.is_floating_point() and name in seen}
        return packed

    def open(self, packed: Tensors, like: Mapping[str, Tensor]) -> Tensors:
        """As the part does."""
        return self.part.open(packed, like)
