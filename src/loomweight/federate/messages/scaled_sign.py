"""Signs.

Paper: Error Feedback Fixes SignSGD and other Gradient Compression Schemes (2019, https://arxiv.org/abs/1901.09847), equation 5.

Read: epfml/error-feedback-SGD, `scaled_sign`: there the sign of 0 is 0, which one bit cannot say; here it is +.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..plain import Tensors
from .message import Message
from .packing import counted, packed_bits, parted, scale_of, shape_and_type, unpacked_bits

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class ScaledSign(Message):
    """mean|x| sign(x) for each floating tensor: one bit an entry, and a scale of 4 bytes. Biased; `ErrorFeedback(ScaledSign())` mends it.

    ||x - sign||^2 = (1 - ||x||_1^2 / (n ||x||^2)) ||x||^2: a contraction.

    >>> packed = ScaledSign().pack({"w": torch.tensor([1.0, -3.0])}, None)
    >>> packed["w:signs"], packed["w:scale"]
    (tensor([1], dtype=torch.uint8), tensor([2.]))
    >>> ScaledSign().open(packed, {"w": torch.zeros(2)})
    {'w': tensor([ 2., -2.])}
    """

    def pack(self, update: Tensors, work: "Work") -> Tensors:
        """Bits and scales."""
        packed: Tensors = {}
        known = work.task.weights if work and work.task else update
        for name, tensor in update.items():
            if tensor.is_floating_point():
                scale = tensor.abs().mean(dtype=torch.float32).reshape(1) if tensor.numel() else torch.zeros(1)
                packed |= {f"{name}:signs": packed_bits((tensor >= 0).to(torch.uint8), 1), f"{name}:scale": scale, **counted(name, tensor, known)}
            else:
                packed[name] = tensor
        return packed

    def open(self, packed: Tensors, like: Mapping[str, Tensor]) -> Tensors:
        """Plus or minus the scale."""
        found, rest = parted(packed, ("signs", "scale"), like, "count")
        return {**{name: self._opened(name, parts, like) for name, parts in found.items()}, **rest}

    def _opened(self, name: str, parts: Tensors, like: Mapping[str, Tensor]) -> Tensor:
        shape, dtype = shape_and_type(name, parts, like, 8 * parts["signs"].numel())
        signs = unpacked_bits(parts["signs"], 1, prod(shape), name)
        return ((2.0 * signs - 1.0) * scale_of(parts["scale"], name)).reshape(shape).to(dtype)
