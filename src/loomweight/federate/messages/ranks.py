"""Ranks instead of numbers, both ways.

Paper: FRL: Federated Rank Learning (2021, https://arxiv.org/abs/2110.04350), section 4. See `RankVote`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from ...errors import BadReply
from ..plain import Tensors
from .message import Message
from .ranking import ladder, packed_ranks, places, unpacked_ranks

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class Ranks(Message):
    """Of every tensor the rank of each entry of what was trained, ceil(log2 n) bits each; the server sees whole numbers in the tensor's shape and dtype.

    A client can say nothing but an order: no entry is larger than n - 1, and every one comes once. It is the only part of its message. Down go ranks too, and
    clients give them evenly spaced scores.

    >>> packed = Ranks().pack_down({"w": torch.tensor([[0.3, 0.1, 0.2]])}, "ann")
    >>> packed, Ranks().open(packed, {"w": torch.zeros(1, 3)})
    ({'w': tensor([18], dtype=torch.uint8)}, {'w': tensor([[2., 0., 1.]])})
    """

    def pack(self, update: Tensors, work: "Work") -> Tensors:
        """Of received + update."""
        return {name: packed_ranks(places(work.task.weights[name] + change)) for name, change in update.items()}

    def open(self, packed: Tensors, like: Mapping[str, Tensor]) -> Tensors:
        """Whole numbers."""
        strange = [name for name in packed if name not in like]
        if strange:
            raise BadReply(f"tensor {strange[0]!r} is ranked, and the server has none of its name.")
        return {name: unpacked_ranks(tensor, like[name], name).to(like[name].dtype) for name, tensor in packed.items()}

    def pack_down(self, weights: Tensors, client: str) -> Tensors:
        """Of the scores."""
        return {name: packed_ranks(places(tensor)) for name, tensor in weights.items()}

    def open_down(self, packed: Tensors, like: Mapping[str, Tensor], client: str) -> Tensors:
        """Evenly spaced scores."""
        return {name: ladder(ranks, like[name].dtype) for name, ranks in self.open(packed, like).items()}
