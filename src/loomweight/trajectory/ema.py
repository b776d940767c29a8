"""EMA: the weights of the recent past, fading by half every half-life.

Paper: How to Scale Your EMA (2023, https://arxiv.org/abs/2307.13813), definition 1.2, the model EMA and its scaling rule.
"""

from math import log

import torch
from torch import nn

from ..errors import BadParameter
from .average import Average
from .clock import Clock
from .exponential import Exponential


class EMA(Average):
    """Exponential moving average of a model's weights.

    m <- rho m + (1 - rho) w, with rho = 2^(-samples / half_life) for a step of so many samples, and divided by the mass of what was seen.
    So a change of batch size, or of how often `update` is called, leaves the average what it is.

    Args:
        model, device: see `Track`.
        half_life: in samples (in steps, if `update` is called without a number of samples).
        decay: instead of a half-life: the factor rho for one sample (for one step, if `update` is called without a number of samples). A decay
            that was tuned for steps of 256 samples is `half_life=half_life_of(0.999, 256)`.
        warm_up: the half-life never exceeds this share of what was seen (0.05 is common); without it, the mass is divided by.
        from_start: the uncorrected average of textbooks, which begins at the model as it is now.
        every: samples between two points that are averaged.

    Raises:
        BadParameter: neither or both of half_life and decay; one that is out of range.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> ema = EMA(model, half_life=1)
    >>> for w in (4.0, 1.0):
    ...     _ = model.weight.data.fill_(w), ema.update()
    >>> with ema.applied():
    ...     model.weight.item()
    2.0
    """

    def __init__(
        self,
        model: nn.Module,
        half_life: float | None = None,
        *,
        decay: float | None = None,
        warm_up: float | None = None,
        from_start: bool = False,
        every: float = 0.0,
        device: str | torch.device | None = None,
    ) -> None:
        if (half_life is None) == (decay is None):
            raise BadParameter(f"give half_life, or decay; found half_life={half_life}, decay={decay}.")
        known = half_life if half_life is not None else half_life_of(decay or 0.0)
        super().__init__(model, Exponential(known, warm_up, from_start), Clock(every=every), device)


def half_life_of(decay: float, samples: float = 1.0) -> float:
    """The half-life, in samples, of an average that keeps `decay` of itself when it sees `samples` more: samples ln 2 / -ln decay.

    Part of: ema.

    Raises:
        BadParameter: decay is not between 0 and 1, or samples is not positive.

    >>> round(half_life_of(0.999, samples=256))
    177357
    """
    if not (0 < decay < 1 and samples > 0):
        raise BadParameter(f"decay lies between 0 and 1, and stands for a positive number of samples; found {decay} for {samples}.")
    return samples * log(2) / -log(decay)
