"""Sixteen bits an entry.

Source: IEEE half precision and bfloat16, as they travel in most systems (2018, https://arxiv.org/abs/1710.03740).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...errors import BadParameter, BadReply, Overflow
from ...weights.write import floating_dtype
from ..plain import Tensors
from .message import Message

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class Half(Message):
    """Every floating tensor in 16 bits, rounded to the nearest. After another part, what that part packed.

    Args:
        dtype: "bfloat16", of the range of float32; or "float16", eight times as fine, up to 65504.

    Raises:
        BadParameter: another dtype.
        Overflow: while packing, a finite entry does not fit.

    >>> Half().open(Half().pack({"w": torch.tensor([1.0, 0.1])}, None), {"w": torch.zeros(2)})
    {'w': tensor([1.0000, 0.1001])}
    """

    dtype: str = "bfloat16"

    def __post_init__(self) -> None:
        if self.dtype not in ("bfloat16", "float16"):
            raise BadParameter(f"Half: the dtype is bfloat16 or float16, found {self.dtype!r}.")

    def pack(self, update: Tensors, work: "Work") -> Tensors:
        """Rounded."""
        return {name: self._rounded(name, tensor) if tensor.is_floating_point() else tensor for name, tensor in update.items()}

    def _rounded(self, name: str, tensor: Tensor) -> Tensor:
        rounded = tensor.to(floating_dtype(self.dtype))
        if bool((rounded.isinf() & tensor.isfinite()).any()):
            raise Overflow(f"tensor {name!r} of the update has an entry of {float(tensor.abs().max()):.4g}, which {self.dtype} cannot hold; send bfloat16.")
        return rounded

    def open(self, packed: Tensors, like: Mapping[str, Tensor]) -> Tensors:
        """As wide as the server's; what another part packed becomes float32."""
        return {name: self._widened(name, tensor, like) for name, tensor in packed.items()}

    def _widened(self, name: str, tensor: Tensor, like: Mapping[str, Tensor]) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        if tensor.dtype != floating_dtype(self.dtype):
            raise BadReply(f"tensor {name!r} is packed as {str(tensor.dtype).removeprefix('torch.')}, expected {self.dtype}.")
        return tensor.to(like[name].dtype if name in like and like[name].is_floating_point() else torch.float32)
