"""A few levels, rounded at random so that nothing is lost on average.

Paper: QSGD: Communication-Efficient SGD via Gradient Quantization and Encoding (2016, https://arxiv.org/abs/1610.02132), section 3.1; TernGrad: Ternary
Gradients to Reduce Communication in Distributed Deep Learning (2017, https://arxiv.org/abs/1705.07878), equation 3: bits=2 and the largest entry for a scale.

We differ: levels are packed in a fixed number of bits, where the first paper has an Elias code.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...errors import BadParameter, BadReply
from ..plain import Tensors
from .message import Message
from .packing import counted, packed_bits, parted, scale_of, shape_and_type, unpacked_bits

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class QSGD(Message):
    """scale * sign(x) * level / s for each floating tensor, with level the whole number below or above s |x| / scale, at random, so that the mean is x.

    s = 2^(bits - 1) - 1 levels beside 0: 127 of 8 bits, 7 of 4, and 1 of 2, which is TernGrad. Unbiased.

    Args:
        bits: of an entry: 2, 4 or 8.
        scale: "max", the largest entry; or "norm", the Euclidean norm, as in the paper, which is coarser for large tensors.

    Raises:
        BadParameter: another number of bits or another word.

    >>> from types import SimpleNamespace
    >>> packed = QSGD(4).pack({"w": torch.tensor([7.0, -3.0])}, SimpleNamespace(generator=torch.Generator(), task=None))
    >>> packed["w:levels"].nbytes, QSGD(4).open(packed, {"w": torch.zeros(2)})
    (1, {'w': tensor([ 7., -3.])})
    """

    bits: int = 8
    scale: str = "max"

    def __post_init__(self) -> None:
        if self.bits not in (2, 4, 8) or self.scale not in ("max", "norm"):
            raise BadParameter(f"QSGD: bits are 2, 4 or 8 and the scale max or norm, found {self.bits} and {self.scale!r}.")

    @property
    def levels(self) -> int:
        """s."""
        return 2 ** (self.bits - 1) - 1

    def pack(self, update: Tensors, work: "Work") -> Tensors:
        """Codes and scales."""
        packed: Tensors = {}
        for name, tensor in update.items():
            if tensor.is_floating_point():
                packed |= {**self._packed(name, tensor.float().flatten(), work.generator), **counted(name, tensor, work.task.weights if work.task else update)}
            else:
                packed[name] = tensor
        return packed

    def _packed(self, name: str, flat: Tensor, generator: torch.Generator) -> Tensors:
        scale = (flat.abs().max() if self.scale == "max" else flat.norm()).reshape(1) if len(flat) else torch.zeros(1)
        height = (flat * (self.levels / scale)).nan_to_num(0.0, 0.0, 0.0) if float(scale) else flat
        level = (height + torch.rand(len(flat), generator=generator)).floor().clamp(-self.levels, self.levels)
        return {f"{name}:levels": packed_bits((level + self.levels).to(torch.uint8), self.bits), f"{name}:scale": scale}

    def open(self, packed: Tensors, like: Mapping[str, Tensor]) -> Tensors:
        """The levels times the scale."""
        found, rest = parted(packed, ("levels", "scale"), like, "count")
        return {**{name: self._opened(name, parts, like) for name, parts in found.items()}, **rest}

    def _opened(self, name: str, parts: Tensors, like: Mapping[str, Tensor]) -> Tensor:
        shape, dtype = shape_and_type(name, parts, like, 8 // self.bits * parts["levels"].numel())
        codes = unpacked_bits(parts["levels"], self.bits, prod(shape), name)
        if codes.numel() and int(codes.max()) > 2 * self.levels:
            raise BadReply(f"tensor {name!r} is packed with the code {int(codes.max())}; {2 * self.levels} is the largest of {self.bits} bits.")
        return ((codes.float() - self.levels) * (scale_of(parts["scale"], name) / self.levels)).reshape(shape).to(dtype)
