"""WiSE-FT: on the line between the pretrained and the fine-tuned model."""

from ..errors import BadParameter
from .mean import Mean
from .rule import Rule


def wise_ft(alpha: float = 0.5) -> Rule:
    """(1 - alpha) w_0 + alpha w_1 for two sets (pretrained, fine-tuned).

    BANG is this line for a model that was fine-tuned with label smoothing or Mixup, which keeps its confidence in balance with
    the pretrained one's.

    Papers: Robust fine-tuning of zero-shot models (2021, https://arxiv.org/abs/2109.01903), equation 1; Spurious Feature
    Diversification Improves Out-of-distribution Generalization (2023, https://arxiv.org/abs/2309.17230), section 5.

    Raises:
        BadParameter: alpha outside [0, 1].

    >>> wise_ft(0.25)
    Mean(weights=(0.75, 0.25), normalize=True)
    """
    if not 0 <= alpha <= 1:
        raise BadParameter(f"wise_ft: alpha must lie in [0, 1], found {alpha}.")
    return Mean((1 - alpha, alpha))
