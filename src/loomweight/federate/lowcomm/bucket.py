"""Named tensors that lie one behind the other in flat memory, so that a collective is one call."""

from collections.abc import Mapping

import torch
from torch import Tensor


class Bucket:
    """Zeros in the working dtype of each tensor: float64 for float64, else float32.

    Args:
        like: names, shapes, devices.

    >>> bucket = Bucket({"a": torch.zeros(2), "b": torch.zeros(1)})
    >>> _ = bucket.views["b"].fill_(3.0)
    >>> bucket.flats
    [tensor([0., 0., 3.])]
    """

    def __init__(self, like: Mapping[str, Tensor]) -> None:
        kinds: dict[tuple[torch.dtype, torch.device], list[str]] = {}
        for name, tensor in like.items():
            kinds.setdefault((working(tensor.dtype), tensor.device), []).append(name)
        self.flats: list[Tensor] = []
        self.views: dict[str, Tensor] = {}
        for (dtype, device), names in kinds.items():
            sizes = [like[name].numel() for name in names]
            self.flats.append(torch.zeros(sum(sizes), dtype=dtype, device=device))
            for name, piece in zip(names, self.flats[-1].split(sizes), strict=True):
                self.views[name] = piece.view(like[name].shape)

    @property
    def first_bad(self) -> str | None:
        """The first tensor that holds NaN or Inf."""
        if all(bool(flat.sum().isfinite()) for flat in self.flats):
            return None
        return next((name for name, view in self.views.items() if not finite(view)), None)


def finite(tensor: Tensor) -> bool:
    """Whether all entries are; a sum is finite where they are, or nearly always, and costs least."""
    return bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())


def working(dtype: torch.dtype) -> torch.dtype:
    """The dtype of arithmetic."""
    return torch.float64 if dtype == torch.float64 else torch.float32
