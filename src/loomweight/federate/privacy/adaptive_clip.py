"""A clipping norm that follows a quantile of the clients' norms, privately.

Paper: Differentially Private Learning with Adaptive Clipping (2019, https://arxiv.org/abs/1905.03871), algorithm 1 and theorem 1.
TensorFlow Privacy's quantile query was read at 03035d5d. As there, a client's bit is shifted to -1/2 or 1/2, so that its count has
sensitivity 1/2. The noise for the updates is enlarged so that both releases together cost what `multiplier` says, as in the paper;
TensorFlow Privacy leaves that to its caller.
"""

from dataclasses import dataclass
from math import exp, sqrt

from ...errors import BadParameter


@dataclass(frozen=True)
class AdaptiveClip:
    """C <- C exp(-rate (b - quantile)), b the noised share of clients whose norm is at most C.

    Args:
        start: the first norm.
        quantile: the share of updates that shall stay unclipped.
        rate: of the steps of log C.
        noise: standard deviation of the noise on the count of unclipped clients; None is a twentieth of the clients that are expected.

    Raises:
        BadParameter: a number out of its range.

    >>> AdaptiveClip(start=1.0).moved(1.0, share=1.0)  # nothing was clipped: smaller
    0.9048374180359595
    """

    start: float = 1.0
    quantile: float = 0.5
    rate: float = 0.2
    noise: float | None = None

    def __post_init__(self) -> None:
        if not self.start > 0 or not 0 <= self.quantile <= 1 or not self.rate >= 0 or not (self.noise is None or self.noise > 0):
            raise BadParameter(f"{self}: start and noise are positive, quantile is in [0, 1], rate is not negative.")

    def deviation(self, expected: float) -> float:
        """The standard deviation of the noise on the count."""
        return expected / 20 if self.noise is None else self.noise

    def moved(self, norm: float, share: float) -> float:
        """The next norm, given the noised share of unclipped clients."""
        return norm * exp(-self.rate * (min(max(share, 0.0), 1.0) - self.quantile))

    def multiplier(self, multiplier: float, expected: float) -> float:
        """That of the updates' noise, so that updates and count together cost `multiplier`: (z^-2 - (2 deviation)^-2)^-1/2.

        Raises:
            BadParameter: the noise on the count alone costs more than that.

        >>> AdaptiveClip(noise=5.0).multiplier(1.0, expected=100)
        1.005037815259212
        """
        if multiplier == 0:
            return 0.0
        left = multiplier**-2 - (2 * self.deviation(expected)) ** -2
        if left <= 0:
            raise BadParameter(
                f"{self}: noise of {self.deviation(expected):g} on the count costs more than the multiplier {multiplier:g} allows; "
                f"it has to be above {multiplier / 2:g}."
            )
        return 1 / sqrt(left)
