"""Rewarded soups: one model for each preference, without training again."""

from ..errors import BadParameter
from .mean import Mean
from .rule import Rule


def rewarded_soup(*preference: float) -> Rule:
    """sum_i lambda_i w_i for a preference lambda on the simplex over the rewards that the sets were tuned for.

    `loomweight tune` sweeps lambda and draws the Pareto front.

    Paper: Rewarded soups: towards Pareto-optimal alignment by interpolating weights fine-tuned on diverse rewards (2023,
    https://arxiv.org/abs/2306.04488), section 2.2.

    Raises:
        BadParameter: a negative lambda, or a sum other than 1.

    >>> rewarded_soup(0.25, 0.75)
    Mean(weights=(0.25, 0.75), normalize=True)
    """
    if min(preference, default=-1) < 0 or abs(sum(preference) - 1) > 1e-6:
        raise BadParameter(f"a preference must lie on the simplex (none negative, sum 1), found {list(preference)}.")
    return Mean(weights=preference)
