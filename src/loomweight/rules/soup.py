"""Uniform soups. The greedy ones choose their sets first: `loomweight.evaluate.greedy_soup`."""

from .mean import Mean
from .rule import Rule


def uniform_soup() -> Rule:
    """The mean of all fine-tunes of one start.

    Paper: Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing inference time
    (2022, https://arxiv.org/abs/2203.05482), recipe 1 without the greedy choice.

    >>> uniform_soup()
    Mean(weights=None, normalize=True)
    """
    return Mean()


def diwa() -> Rule:
    """The mean of runs that were made diverse: one start with a linear-probed head, other hyperparameters for each.

    Its restricted selection is `loomweight.evaluate.greedy_soup`; `loomweight.evaluate` reports diversity and the terms of
    the bias-variance-covariance-locality decomposition.

    Paper: Diverse Weight Averaging for Out-of-Distribution Generalization (2022, https://arxiv.org/abs/2205.09739), equation 1.

    >>> diwa()
    Mean(weights=None, normalize=True)
    """
    return Mean()


def ratatouille() -> Rule:
    """The mean of fine-tunes on the target that each started from another auxiliary fine-tune of one foundation model.

    Paper: Model Ratatouille: Recycling Diverse Models for Out-of-Distribution Generalization (2022,
    https://arxiv.org/abs/2212.10445), section 2.3.

    >>> ratatouille()
    Mean(weights=None, normalize=True)
    """
    return Mean()
