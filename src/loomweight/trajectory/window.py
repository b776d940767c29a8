"""The plain mean of the latest k points: LAWA.

Source: Stop Wasting My Time! Saving Days of ImageNet and BERT Training with Latest Weight Averaging (2022, https://arxiv.org/abs/2209.14981), section 2.
We differ: points are as many samples apart as `every` says, where the paper takes the ends of epochs.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BadParameter, NamesDiffer
from ..weights.spec import Spec
from .clock import Clock
from .model import fitting, followed, local
from .step import refuse_nonfinite
from .track import Track


class LAWA(Track):
    """Mean of the model's latest k points, k models of memory in the model's own dtype.

    Args:
        model, device: see `Track`; `device="cpu"` keeps the k models out of an accelerator.
        k: how many points.
        every: samples between two points.
        start: samples that are left out at the beginning.

    Raises:
        BadParameter: k below 1.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> lawa = LAWA(model, k=2)
    >>> for w in (9.0, 1.0, 3.0):
    ...     _ = model.weight.data.fill_(w), lawa.update()
    >>> lawa.value()["weight"]
    tensor([[2.]])
    """

    def __init__(self, model: nn.Module, k: int = 6, every: float = 0.0, start: float = 0.0, device: str | torch.device | None = None) -> None:
        if k < 1:
            raise BadParameter(f"k, the number of points to average, must be at least 1, found {k}.")
        super().__init__(model, Clock(start, every), device)
        self.k = k
        self.points: list[dict[str, Tensor]] = []

    def forget(self, *names: str) -> None:
        """Drop these tensors from all points: they have left the model, or begin anew.

        Raises:
            NamesDiffer: the latest point does not hold one of them.
        """
        if missing := [name for name in names if name not in self._held()]:
            raise NamesDiffer(f"the average does not hold {missing[0]!r}.")
        self.points = [{name: tensor for name, tensor in point.items() if name not in names} for point in self.points]

    @torch.no_grad()
    def _take(self, samples: float) -> None:
        live = followed(self.model, self._held())
        refuse_nonfinite({name: local(tensor) for name, tensor in live.items()})
        reused = self.points[0] if len(self.points) == self.k else {}
        point = {name: _copied(tensor, reused.get(name), self.device) for name, tensor in live.items()}
        self.points = [*self.points, point][-self.k :]

    def _read(self) -> Mapping[str, Tensor]:
        return {name: _mean([point[name] for point in self.points if name in point]) for name in self._held()}

    def _held(self) -> Mapping[str, Tensor]:
        return self.points[-1] if self.points else {}

    def _what(self) -> str:
        return f"LAWA(k={self.k})"

    def _state(self) -> dict[str, Any]:
        return {"points": [dict(point) for point in self.points]}

    def _load(self, state: Mapping[str, Any]) -> None:
        points = state["points"]
        latest = fitting(self.model, points[-1]) if points else {}
        self.points = [
            {name: tensor.to(self.device or local(latest[name]).device, copy=True) for name, tensor in point.items() if name in latest} for point in points
        ]


def _copied(tensor: Tensor, into: Tensor | None, device: torch.device | None) -> Tensor:
    source = local(tensor)
    if into is None or into.shape != source.shape or into.dtype != source.dtype:
        into = torch.empty_like(source, device=device)
    return into.copy_(source)


def _mean(points: list[Tensor]) -> Tensor:
    """Summed in working precision; it keeps the layout."""
    total = torch.zeros_like(points[0], dtype=Spec(tuple(points[0].shape), points[0].dtype).work)
    for point in points:
        total.add_(point.to(total.dtype))
    return total.div_(len(points))
