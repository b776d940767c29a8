"""FGE: points at the lowest learning rates of one run vote.

Paper: Loss Surfaces, Mode Connectivity, and Fast Ensembling of DNNs (2018, https://arxiv.org/abs/1802.10026), section 4.
Original code: timgaripov/dnn-mode-connectivity at commit f0bf253, fge.py: probabilities are averaged, every point keeps its own statistics
of batch normalizations.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import floor
from typing import Any, SupportsFloat

import torch
from torch import Tensor, nn

from ..errors import BadParameter
from ..evidence.grams import Forward, run_model
from ..weights import Weights
from .clock import Clock
from .model import followed
from .used import put, put_back, whole
from .window import LAWA


@dataclass(frozen=True)
class Minima(Clock):
    """Due at the first step at or after the middle of each cycle of `every` samples, wherever the steps fall.

    >>> clock, dues = Minima(every=4), []
    >>> for _ in range(5):  # middles at 2, 6, 10, 14
    ...     clock, due = clock.after(3)
    ...     dues.append(due)
    >>> dues
    [3.0, 3.0, 0.0, 6.0, 3.0]
    """

    def after(self, samples: SupportsFloat) -> tuple[Clock, float]:
        """As `Clock.after`."""
        clock, _ = super().after(samples)
        pending = self.pending + min(float(samples), max(0.0, clock.run - self.start))
        due = pending if self._passed(clock.run) > self._passed(self.run) else 0.0
        return replace(clock, pending=pending - due), due

    def _passed(self, run: float) -> int:
        return floor(max(0.0, run - self.start) / self.every + 0.5)


def probabilities(model: nn.Module, batch: Any) -> Tensor:
    """The model's logits as probabilities.

    >>> probabilities(nn.Identity(), torch.zeros(1, 2))
    tensor([[0.5000, 0.5000]])
    """
    return run_model(model, batch).softmax(-1)


class FGE(LAWA):
    """Fast geometric ensembling: keeps the model's points in the middle of each cycle of the learning rate, and averages what they predict.

    The rate is `cyclical(length, low, start)`. `predict(batch)` is the ensemble; `members()` are its points, to be saved each. The value is
    their mean, which is SWA with that rate.

    Args:
        model, device: see `Track`; `device="cpu"` keeps the points out of an accelerator.
        length: samples of a cycle.
        k: at most so many points are kept, the latest.
        start: samples before the first cycle begins.

    Raises:
        BadParameter: length is not positive; k below 1.

    >>> model = nn.Linear(1, 2, bias=False)
    >>> fge = FGE(model, length=2)
    >>> for w in (0.0, 9.0, 1.0986123):  # the middle is at 1 and at 3; e^1.0986 = 3
    ...     _ = model.weight.data.copy_(torch.tensor([[0.0], [w]])), fge.update()
    >>> fge.predict(torch.ones(1, 1))  # (1/2, 1/2) and (1/4, 3/4)
    tensor([[0.3750, 0.6250]])
    """

    def __init__(self, model: nn.Module, length: float, k: int = 10, start: float = 0.0, device: str | torch.device | None = None) -> None:
        if not length > 0:
            raise BadParameter(f"FGE: length, the samples of a cycle of the learning rate, must be positive, found {length}.")
        super().__init__(model, k, every=length, start=start, device=device)
        self.clock = Minima(start=start, every=length)

    def predict(self, batch: Any, forward: Forward = probabilities) -> Tensor:
        """The mean of what each point gives, without gradients; the model's mode (`eval()`) is yours.

        Args:
            batch: as the model takes it.
            forward: (model, batch) -> a tensor, what is averaged; for a regression `lambda model, batch: model(batch)`.

        Raises:
            TooFewSets: no cycle has come to its middle yet.
        """
        self._refuse_empty()
        return torch.stack([self._output(point, batch, forward) for point in self.points]).mean(0)

    def members(self) -> list[Weights]:
        """The points, each as the weights of the whole model, from the earliest."""
        return [self._whole(point, i) for i, point in enumerate(self.points)]

    def _output(self, point: Mapping[str, Tensor], batch: Any, forward: Forward) -> Tensor:
        with self._holding(point), torch.no_grad():
            return forward(self.model, batch)

    def _whole(self, point: Mapping[str, Tensor], i: int) -> Weights:
        with self._holding(point):
            return whole(self.model, f"point {i} of {type(self.model).__name__}")

    @contextmanager
    def _holding(self, point: Mapping[str, Tensor]) -> Iterator[None]:
        live = followed(self.model, point)
        kept: dict[str, Tensor] = {}
        try:
            put(live, point, kept)
            yield
        finally:
            put_back(live, kept)

    def _what(self) -> str:
        return f"FGE(k={self.k}) in cycles of {self.clock.every}"
