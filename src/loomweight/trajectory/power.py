"""An average whose memory is a share of the run, whatever the run's length.

Paper: Analyzing and Improving the Training Dynamics of Diffusion Models (2023, https://arxiv.org/abs/2312.02696), section 3.1,
equations 1 and 2, and appendix C.4, equations 121 (the profile), 123 and 126 (its relative standard deviation, and back) and 127:
beta(t) = (1 - n / t)^(gamma + 1) is the share that n new samples leave. Original code: NVlabs/edm2 at commit 4bf8162, training/phema.py.
We differ: gamma may be 0, the plain mean, and negative down to -1; theirs is positive.
"""

from dataclasses import dataclass
from math import expm1, inf, isfinite, log, log1p
from typing import Self

import numpy as np

from ..errors import BadParameter
from ..rules import RunningAverage

_LARGEST = 12**-0.5  # the relative standard deviation of gamma = 0, the plain mean


@dataclass(frozen=True)
class Power(RunningAverage):
    """Weight of the samples seen at time t: proportional to t^gamma; gamma = 0 is the running mean, a large gamma remembers little.

    The state after S samples does not depend on how they were cut into steps as long as the weights stay the same, and the
    profile keeps its form as S grows: its standard deviation is always the same share of S.

    Args:
        gamma: the power, greater than -1.

    Raises:
        BadParameter: gamma is not a finite number above -1.

    >>> Power(1).rate(seen=1, new=1), round(Power.of_length(0.10).gamma, 2)
    (0.75, 6.94)
    """

    gamma: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "gamma", float(self.gamma))
        if not (isfinite(self.gamma) and self.gamma > -1):
            raise BadParameter(f"gamma must be a finite number above -1, found {self.gamma}.")

    @classmethod
    def of_length(cls, length: float) -> Self:
        """The profile whose standard deviation is this share of the run: sigma^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)).

        Raises:
            BadParameter: a length outside (0, 0.2886...], of which the upper end is the plain mean.
        """
        if not 0 < length <= _LARGEST + 1e-9:
            raise BadParameter(f"the length of an average is above 0 and at most {_LARGEST:.4f} (the plain mean) of the run, found {length}.")
        inverse = length**-2
        roots = np.roots([1.0, 7.0, 16.0 - inverse, 12.0 - inverse])
        return cls(max(float(roots.real.max()), 0.0))

    @property
    def length(self) -> float:
        """The standard deviation of the profile, as a share of the run."""
        return ((self.gamma + 1) / ((self.gamma + 2) ** 2 * (self.gamma + 3))) ** 0.5

    def rate(self, seen: float, new: float) -> float:
        """1 - (seen / (seen + new))^(gamma + 1)."""
        share, past = new / (seen + new), seen / (seen + new)
        return -expm1((self.gamma + 1) * (log1p(-share) if share < 0.5 else log(past) if past else -inf))
