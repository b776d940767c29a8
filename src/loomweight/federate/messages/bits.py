"""Weights in as few bits as a client has, both ways.

Paper: Bitwidth Heterogeneous Federated Learning with Progressive Weight Dequantization (2022, https://arxiv.org/abs/2202.11453), section 3. See `ProWD`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...derive.quantised import UNROUNDED, steps
from ...errors import BadParameter, BadReply
from ..plain import Tensors
from .message import Message
from .packing import checked, packed_bits, unpacked_bits

if TYPE_CHECKING:
    from ..work import Work

_MARKS = ("codes", "steps", "bits")


@dataclass(frozen=True)
class Bits(Message):
    """What was trained, rounded to s round(w / s), s = max |w| / (2^(bits - 1) - 1) of each output unit; the server sees these weights and no update.

    Down goes the server's model, rounded alike. Tensors of one axis, and those of clients with 32 bits, go as they are. It is the only part of its message, and
    its aggregate has to expect weights, as `ProWD` does.

    Args:
        widths: client -> bits: 2, 4, 8 or 32; others have 32.

    Raises:
        BadParameter: other bits.

    >>> part = Bits({"ann": 2})
    >>> packed = part.pack_down({"w": torch.tensor([[1.0, -0.4, -0.9]])}, "ann")
    >>> part.open_down(packed, {"w": torch.zeros(1, 3)}, "ann")
    {'w': tensor([[ 1.,  0., -1.]])}
    """

    widths: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        strange = sorted({bits for bits in self.widths.values() if bits not in (2, 4, 8, UNROUNDED)})
        if strange:
            raise BadParameter(f"Bits: weights have 2, 4, 8 or {UNROUNDED} bits, found {strange[0]}.")

    def pack(self, update: Tensors, work: "Work") -> Tensors:
        """Received + update, rounded."""
        return self.pack_down({name: work.task.weights[name] + change for name, change in update.items()}, work.task.client)

    def open(self, packed: Tensors, like: Mapping[str, Tensor]) -> Tensors:
        """The rounded weights."""
        found = {name: tensor for name, tensor in packed.items() if name.rpartition(":")[2] not in _MARKS}
        for name in {name.rpartition(":")[0] for name in packed if name not in found}:
            found[name] = self._opened(name, packed, like)
        return found

    def pack_down(self, weights: Tensors, client: str) -> Tensors:
        """Rounded to the client's bits."""
        bits = self.widths.get(client, UNROUNDED)
        packed: Tensors = {}
        for name, tensor in weights.items():
            if bits == UNROUNDED or tensor.ndim < 2:
                packed[name] = tensor
                continue
            step = steps(tensor.float(), bits, 0)
            codes = (tensor.float() / step).round() + (2 ** (bits - 1) - 1)
            packed |= {f"{name}:codes": packed_bits(codes.to(torch.uint8), bits), f"{name}:steps": step.flatten()}
            packed[f"{name}:bits"] = torch.tensor([bits], dtype=torch.uint8)
        return packed

    def open_down(self, packed: Tensors, like: Mapping[str, Tensor], client: str) -> Tensors:
        """As the server does."""
        return self.open(packed, like)

    def _opened(self, name: str, packed: Tensors, like: Mapping[str, Tensor]) -> Tensor:
        lacking = [mark for mark in _MARKS if f"{name}:{mark}" not in packed]
        if lacking or name not in like:
            raise BadReply(f"tensor {name!r} is rounded, and {f'its {lacking[0]} lack' if lacking else 'the server has none of its name'}.")
        bits = int(checked(packed[f"{name}:bits"], name, (torch.uint8,), 1))
        if bits not in (2, 4, 8):
            raise BadReply(f"tensor {name!r} is rounded to {bits} bits, expected 2, 4 or 8.")
        shape = like[name].shape
        step = checked(packed[f"{name}:steps"], name, (torch.float32,), shape[0])
        codes = unpacked_bits(packed[f"{name}:codes"], bits, like[name].numel(), name).float() - (2 ** (bits - 1) - 1)
        return (codes.reshape(shape) * step.reshape(-1, *[1] * (len(shape) - 1))).to(like[name].dtype)
