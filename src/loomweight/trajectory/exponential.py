"""An average whose memory fades by half every `half_life` samples.

Paper: How to Scale Your EMA (2023, https://arxiv.org/abs/2307.13813), definition 1.2: when the batch grows by kappa, the momentum rho
becomes rho^kappa. Here that is no rule to remember: the half-life is counted in samples, so that rho = 2^(-samples / half-life).
The warm-up is that of EDM (Karras and others, 2022): the half-life never exceeds a share of the samples seen so far.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import expm1, isfinite, log

from torch import Tensor

from ..errors import BadParameter
from ..rules import RunningAverage, State
from ..weights import Weights


@dataclass(frozen=True)
class Exponential(RunningAverage):
    """Weight of a set, t samples after it was seen: 2^(-t / half_life).

    The weights add up to one: what is divided by is the mass of what was seen, 1 - 2^(-seen / half_life). So the first value is
    the first set itself, not a mixture with the start (Adam's bias correction).

    Args:
        half_life: in the unit in which sets are weighed when they are added: samples, tokens, or steps.
        warm_up: if given, the half-life at any time is at most this share of what was seen; 0.05 is EDM's.
        from_start: begin at the weights given to `start`, with the mass of an endless past: the uncorrected textbook average.

    Raises:
        BadParameter: a half-life or a warm-up that is not positive, or both a warm-up and `from_start`, of which each says how to begin.

    >>> average = Exponential(half_life=1)
    >>> state = average.start({"w": torch.zeros(1)})
    >>> for w in (4.0, 1.0):  # weights 1/2 and 1
    ...     state = average.add(state, {"w": torch.tensor([w])})
    >>> average.value(state)["w"]
    tensor([2.])
    >>> Exponential(256).rate(seen=1e9, new=256)  # one half-life in one step
    0.5
    """

    half_life: float
    warm_up: float | None = None
    from_start: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "half_life", float(self.half_life))
        if not (isfinite(self.half_life) and self.half_life > 0):
            raise BadParameter(f"half_life must be a positive number of samples, found {self.half_life}.")
        if self.warm_up is not None and not (isfinite(self.warm_up) and self.warm_up > 0):
            raise BadParameter(f"warm_up must be a positive share of the samples seen, found {self.warm_up}.")
        if self.warm_up is not None and self.from_start:
            raise BadParameter("warm_up and from_start both say how the average begins; give one of them.")

    def start(self, like: "Weights | Mapping[str, Tensor]") -> State:
        """An empty state; with `from_start` one that holds these weights.

        Raises:
            NonFinite: with `from_start`, they hold NaN or Inf.
        """
        state = super().start(like)
        if self.from_start:
            self._look_at(like)
            for name, total in state.total.items():
                total.copy_(like[name])
        return state

    def rate(self, seen: float, new: float) -> float:
        """(1 - 2^(-new / h)) / (1 - 2^(-(seen + new) / h)); the denominator is 1 with `from_start` or `warm_up`."""
        half_life = self.half_life if self.warm_up is None else min(self.half_life, self.warm_up * seen)
        if half_life == 0:
            return 1.0
        share = -expm1(-log(2) * new / half_life)
        corrected = self.warm_up is None and not self.from_start
        return share / -expm1(-log(2) * (seen + new) / half_life) if corrected else share
