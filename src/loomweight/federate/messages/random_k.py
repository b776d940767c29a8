"""Entries at random.

Paper: Sparsified SGD with Memory (2018, https://arxiv.org/abs/1809.07599), equation 5; scaled by n/k as in Federated Learning: Strategies for Improving
Communication Efficiency (2016, https://arxiv.org/abs/1610.05492), section 3 (random masks).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...errors import BadParameter, BadReply
from ..plain import Tensors
from .message import Message
from .packing import FLOATS, checked, parted
from .top_k import kept

if TYPE_CHECKING:
    from ..work import Work

_SEED = ":seed"


@dataclass(frozen=True)
class RandomK(Message):
    """k = ceil(share * entries) random entries of each floating tensor, times n/k: unbiased. Their places are drawn from a seed, which is sent: 8 bytes in all.

    Args:
        share: of the entries, in (0, 1].
        scaled: times n/k; without, it is a contraction, for `ErrorFeedback`.

    Raises:
        BadParameter: the share is out of its range.

    >>> from types import SimpleNamespace
    >>> packed = RandomK(0.5).pack({"w": torch.ones(4)}, SimpleNamespace(generator=torch.Generator().manual_seed(1)))
    >>> packed["w:values"], RandomK(0.5).open(packed, {"w": torch.zeros(4)})["w"].sum()
    (tensor([2., 2.]), tensor(4.))
    """

    share: float
    scaled: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise BadParameter(f"RandomK: the share is in (0, 1], found {self.share}.")

    def pack(self, update: Tensors, work: "Work") -> Tensors:
        """Values, and one seed."""
        seed = torch.randint(2**62, (1,), generator=work.generator)
        packed: Tensors = {_SEED: seed}
        for name, tensor in update.items():
            if tensor.is_floating_point():
                flat = tensor.flatten()
                places = self._places(name, len(flat), int(seed))
                packed[f"{name}:values"] = flat[places] * (len(flat) / max(len(places), 1) if self.scaled else 1.0)
            else:
                packed[name] = tensor
        return packed

    def open(self, packed: Tensors, like: Mapping[str, Tensor]) -> Tensors:
        """Zeros, but at the places of the seed."""
        if _SEED not in packed:
            raise BadReply("the update is packed at random places, and its seed lacks.")
        seed = int(checked(packed[_SEED], "seed", (torch.int64,), 1))
        found, rest = parted({name: tensor for name, tensor in packed.items() if name != _SEED}, ("values",), like)
        return {**{name: self._opened(name, parts, like, seed) for name, parts in found.items()}, **rest}

    def _opened(self, name: str, parts: Tensors, like: Mapping[str, Tensor], seed: int) -> Tensor:
        if name not in like or not like[name].is_floating_point():
            raise BadReply(f"tensor {name!r} is packed by random entries, and the server has no floating tensor of its name.")
        places = self._places(name, like[name].numel(), seed)
        values = checked(parts["values"], name, FLOATS, len(places))
        flat = torch.zeros(like[name].numel(), dtype=like[name].dtype)
        flat[places] = values.to(flat.dtype)
        return flat.reshape(like[name].shape)

    def _places(self, name: str, count: int, seed: int) -> Tensor:
        digest = blake2b(repr((seed, name)).encode(), digest_size=7).digest()
        return torch.randperm(count, generator=torch.Generator().manual_seed(int.from_bytes(digest)))[: kept(count, self.share)]
