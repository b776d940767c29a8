"""What predictors that are networks share: one loop, one loss, one line from scores to labels."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .kendall import soft_kendall
from .predictor import Array

LOSSES = ("squared", "kendall")


def train(parameters: Sequence[Tensor], loss: Callable[[], Tensor], steps: int, rate: float, decay: float) -> None:
    """AdamW over all labels at once, the rate falling to 0 along a cosine."""
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        schedule.step()


def loss_of(kind: str, scores: Tensor, labels: Tensor) -> Tensor:
    """Mean squared error, or minus the smooth Kendall correlation."""
    return ((scores - labels) ** 2).mean() if kind == "squared" else -soft_kendall(scores, labels, sharpness=2.0)


def line(scores: Array, labels: Array) -> tuple[float, float]:
    """Slope, never negative, and level of the least squares line from scores to labels."""
    away, spread = scores - scores.mean(), float(scores.var())
    slope = max(float((away * (labels - labels.mean())).mean()) / spread, 0.0) if spread > 1e-12 else 0.0
    return slope, float(labels.mean() - slope * scores.mean())


def tensor(values: Array) -> Tensor:
    """In float32."""
    return torch.from_numpy(values).to(torch.float32)


def drawn(*shape: int, fan_in: int, generator: torch.Generator) -> Tensor:
    """First weights for ReLU, variance 2 / fan_in."""
    return (torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5).requires_grad_()
