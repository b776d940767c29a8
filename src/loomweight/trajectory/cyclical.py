"""A learning rate that falls and rises again, in a triangle.

Paper: Loss Surfaces, Mode Connectivity, and Fast Ensembling of DNNs (2018, https://arxiv.org/abs/1802.10026), section 4.
Original code: timgaripov/dnn-mode-connectivity at commit f0bf253, utils.py, cyclic_learning_rate.
We differ: time is samples before a step, as in the code; the formula in the paper counts the step that is taken.
"""

from collections.abc import Callable
from math import isfinite

from ..errors import BadParameter


def cyclical(length: float, low: float, start: float = 0.0) -> Callable[[float], float]:
    """Factor of the learning rate after so many samples: from 1 to `low` in the first half of a cycle, back to 1 in the second.

    (1 - d) + low d, d = min(2 t, 2 - 2 t), with t the share of the cycle that has passed. In the middle, where the rate is lowest, `FGE` takes its points.

    Args:
        length: samples of a cycle; the paper takes 2 to 4 epochs.
        low: the lowest rate, as a share of the highest, in (0, 1].
        start: samples before the first cycle begins; the factor is 1 until then.

    Raises:
        BadParameter: one of them is out of range.

    >>> factor = cyclical(length=400, low=0.2)
    >>> [factor(samples) for samples in (0, 100, 200, 300, 400)]
    [1.0, 0.6, 0.2, 0.6, 1.0]
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.05)  # the highest
    >>> schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(step * 128))  # steps of 128 samples
    """
    if not (isfinite(length) and length > 0 and 0 < low <= 1 and isfinite(start) and start >= 0):
        raise BadParameter(f"cyclical: length > 0 samples, low in (0, 1] and start >= 0 samples, found length={length}, low={low}, start={start}.")

    def factor(samples: float) -> float:
        share = max(0.0, samples - start) % length / length
        down = min(2 * share, 2 - 2 * share)
        return (1 - down) + low * down

    return factor
