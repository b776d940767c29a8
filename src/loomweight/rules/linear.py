"""The mean with weights, under the name that recipes use."""

from .mean import Mean
from .rule import Rule


def linear(weights: tuple[float, ...] | None = None, normalize: bool = True) -> Rule:
    """sum_i a_i w_i / sum_i a_i.

    Paper: Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing inference time
    (2022, https://arxiv.org/abs/2203.05482).

    >>> linear((1.0, 3.0))
    Mean(weights=(1.0, 3.0), normalize=True)
    """
    return Mean(weights, normalize)
