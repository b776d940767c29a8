"""SWA: the plain mean of the last part of a run.

Paper: Averaging Weights Leads to Wider Optima and Better Generalization (2018, https://arxiv.org/abs/1803.05407), algorithm 1, line 6.
"""

import torch
from torch import nn

from ..rules import RunningMean
from .average import Average
from .clock import Clock


class SWA(Average):
    """Stochastic weight averaging: m <- m + (w - m) / n over the points of a run, from a start on.

    The paper takes the ends of cycles or epochs, at a constant or cyclical learning rate: `every` is the length of a cycle in samples. Batch
    normalization needs its statistics anew: `value(data=loader)`.

    Args:
        model, device: see `Track`.
        start: samples that are left out at the beginning; with `length`, as a share of the run.
        every: samples between two points; 0 takes every step.
        length: samples of the whole run, if it is known.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> swa = SWA(model, start=0.5, length=4)
    >>> for w in (9.0, 9.0, 1.0, 3.0):
    ...     _ = model.weight.data.fill_(w), swa.update()
    >>> swa.value()["weight"]
    tensor([[2.]])
    """

    def __init__(self, model: nn.Module, start: float = 0.0, every: float = 0.0, length: float | None = None, device: str | torch.device | None = None) -> None:
        super().__init__(model, RunningMean(), Clock.of(start, every, length), device)
