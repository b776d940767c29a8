"""Kendall's rank correlation made smooth, so that a predictor can be trained for the order of configurations.

Papers: DiffKendall: A Novel Approach for Few-Shot Learning with Differentiable Kendall's Rank Correlation (2023, https://arxiv.org/abs/2307.15317);
ParZC: Parametric Zero-Cost Proxies for Efficient NAS (2024, https://arxiv.org/abs/2402.02105), the loss. The first smooths
the sign of the product of both differences, tanh(a dx dy); ParZC's code smooths each sign by itself, as is done here, so that the unit of one side does not
blunt the other. Its sum runs over ordered pairs and is divided by the number of unordered ones, so it lies between -2 and 2; ours between -1 and 1.
"""

import torch
from torch import Tensor

from ...errors import BadParameter


def soft_kendall(x: Tensor, y: Tensor, sharpness: float = 10.0) -> Tensor:
    """Smooth Kendall correlation: the mean over pairs of tanh(sharpness (x_i - x_j) / 2) tanh(sharpness (y_i - y_j) / 2).

    As the sharpness grows it becomes Kendall's tau-a: concordant minus discordant pairs over all pairs, tied ones counted as 0.
    Its negative is a loss. Sides of different units are best standardised before.

    Args:
        x: n numbers, at least 2.
        y: as many.
        sharpness: above 0, in one over the unit of the values.

    Raises:
        BadParameter: the shapes or the sharpness do not fit.

    >>> x = torch.tensor([1.0, 2.0, 3.0])
    >>> round(float(soft_kendall(x, torch.tensor([1.0, 3.0, 2.0]), sharpness=50.0)), 4)
    0.3333
    """
    if x.ndim != 1 or x.shape != y.shape or len(x) < 2:
        raise BadParameter(f"a rank correlation needs two vectors of one length, at least 2; found shapes {tuple(x.shape)} and {tuple(y.shape)}.")
    if not sharpness > 0:
        raise BadParameter(f"sharpness is above 0, found {sharpness}.")
    first, second = torch.triu_indices(len(x), len(x), offset=1, device=x.device)
    return (_sign(x[first] - x[second], sharpness) * _sign(y[first] - y[second], sharpness)).mean()


def _sign(difference: Tensor, sharpness: float) -> Tensor:
    return torch.tanh(difference * (sharpness / 2))
