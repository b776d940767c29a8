"""The largest entries of each tensor.

Paper: Sparsified SGD with Memory (2018, https://arxiv.org/abs/1809.07599), definition 2.1 and equation 5.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...errors import BadParameter, BadReply
from ..plain import Tensors
from .message import Message
from .packing import FLOATS, checked, parted

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class TopK(Message):
    """The k = ceil(share * entries) entries of each floating tensor that are largest in absolute value, with their places; the others become 0.

    ||x - top_k(x)||^2 <= (1 - k/n) ||x||^2: a contraction, and biased; `ErrorFeedback(TopK(0.01))` sends later what it leaves out. 4 bytes a place,
    and a value as it was; `(TopK(0.01), Half())` sends values in 16 bits.

    Args:
        share: of the entries, in (0, 1].

    Raises:
        BadParameter: the share is out of its range; while packing, a tensor has 2^31 entries or more.

    >>> packed = TopK(0.5).pack({"w": torch.tensor([1.0, -3.0, 2.0, 0.0])}, None)
    >>> packed["w:indices"], packed["w:values"]
    (tensor([1, 2], dtype=torch.int32), tensor([-3.,  2.]))
    >>> TopK(0.5).open(packed, {"w": torch.zeros(4)})
    {'w': tensor([ 0., -3.,  2.,  0.])}
    """

    share: float

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise BadParameter(f"TopK: the share is in (0, 1], found {self.share}.")

    def pack(self, update: Tensors, work: "Work") -> Tensors:
        """Values and places."""
        packed: Tensors = {}
        for name, tensor in update.items():
            packed |= self._packed(name, tensor.flatten()) if tensor.is_floating_point() else {name: tensor}
        return packed

    def _packed(self, name: str, flat: Tensor) -> Tensors:
        if len(flat) >= 2**31:
            raise BadParameter(f"TopK: tensor {name!r} has {len(flat):,} entries; places are numbers of 32 bits.")
        places = flat.abs().topk(kept(len(flat), self.share)).indices.sort().values
        return {f"{name}:values": flat[places], f"{name}:indices": places.to(torch.int32)}

    def open(self, packed: Tensors, like: Mapping[str, Tensor]) -> Tensors:
        """Zeros, but at the places."""
        found, rest = parted(packed, ("values", "indices"), like)
        return {**{name: self._opened(name, parts, like) for name, parts in found.items()}, **rest}

    def _opened(self, name: str, parts: Tensors, like: Mapping[str, Tensor]) -> Tensor:
        if name not in like or not like[name].is_floating_point():
            raise BadReply(f"tensor {name!r} is packed by its largest entries, and the server has no floating tensor of its name.")
        count = like[name].numel()
        places = checked(parts["indices"], name, (torch.int32,), kept(count, self.share)).long()
        values = checked(parts["values"], name, FLOATS, len(places))
        if len(places) and (int(places[0]) < 0 or int(places[-1]) >= count or bool((places.diff() <= 0).any())):
            raise BadReply(f"tensor {name!r} is packed with places that are not between 0 and {count - 1}, each once and in their order.")
        flat = torch.zeros(count, dtype=like[name].dtype)
        flat[places] = values.to(flat.dtype)
        return flat.reshape(like[name].shape)


def kept(count: int, share: float) -> int:
    """How many entries are sent: at least one where there is any."""
    return min(count, max(1, ceil(share * count - 1e-9)))
