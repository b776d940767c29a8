"""Some of the tensors go up, the others only down."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from ...errors import BadReply
from ...weights.names import difference, matches
from ..plain import Tensors
from .message import Message

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class Only(Message):
    """Of an update the tensors whose names fit a pattern; for what the server changes and clients do not.

    Args:
        patterns: of names.

    >>> Only(["*lora_*"]).pack({"w": torch.zeros(1), "lora_A": torch.ones(1)}, None)
    {'lora_A': tensor([1.])}
    """

    patterns: Sequence[str]
    partial = True
    sums = True

    def pack(self, update: Tensors, work: "Work") -> Tensors:
        """Without the others."""
        return {name: tensor for name, tensor in update.items() if self._goes(name)}

    def open(self, packed: Tensors, like: Mapping[str, Tensor]) -> Tensors:
        """As it is, if it holds these tensors and no others: clients have no say in what goes only down."""
        wanted = [name for name in like if self._goes(name)]
        if set(packed) != set(wanted):
            raise BadReply(f"not the tensors that go up ({difference(wanted, packed)}).")
        return packed

    def _goes(self, name: str) -> bool:
        return any(matches(pattern, name) for pattern in self.patterns)
