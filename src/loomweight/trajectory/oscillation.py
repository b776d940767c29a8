"""How sharply a curve along training jumps: of long-horizon reward against one-step loss.

Paper: Butterfly Effects of SGD Noise: Error Amplification in Behavior Cloning and Autoregression (2023, https://arxiv.org/abs/2310.11428):
steps that hardly move the loss of behaviour cloning make the reward of closed-loop rollouts jump (gradient variance amplification), and an EMA of
the iterates calms it.
We differ: no code of the authors was found, so the number here is none of theirs. It is John von Neumann's mean square successive difference (1941),
which a slow trend of training does not enter.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf, isfinite, sqrt

from ..errors import BadParameter


def oscillation(values: Sequence[float], scale: float | None = None) -> float:
    """sqrt(sum over i of (v_{i+1} - v_i)^2 / (2 (n - 1))) / scale.

    For independent fluctuations about a constant this is their standard deviation; a slow drift adds next to nothing.

    Part of: gva.

    Args:
        values: one number for each evaluation along the run, in its order; at least two.
        scale: what a fluctuation is compared with; by default the magnitude of the mean.

    Raises:
        BadParameter: fewer than two values, one that is not finite, a scale that is not positive, or a mean of zero without one.

    >>> oscillation([1.0, 3.0, 1.0, 3.0]), oscillation([1.0, 1.1, 1.2, 1.3]) < 0.1
    (0.7071067811865476, True)
    """
    if len(values) < 2 or not all(map(isfinite, values)):
        raise BadParameter(f"an oscillation needs two finite values or more, found {list(values)[:5]} ({len(values)} in all).")
    scale = abs(sum(values) / len(values)) if scale is None else scale
    if not scale > 0:
        raise BadParameter(f"the scale of an oscillation must be positive, found {scale}; where values lie around zero, give one.")
    return sqrt(sum((b - a) ** 2 for a, b in pairwise(values)) / (2 * (len(values) - 1))) / scale


@dataclass
class Curve:
    """What one policy scored along a run.

    Part of: gva.

    Args:
        losses: one-step losses, the first of them before training.
        rewards: long-horizon rewards at the same moments.

    >>> curve = Curve([1.0, 0.02, 0.01], [0.1, 0.9, 0.3])
    >>> curve.settled(1).rewards
    [0.9, 0.3]
    """

    losses: list[float] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    first_loss: float | None = None

    def settled(self, start: int) -> "Curve":
        """The part from a measurement on, in units of the same first loss."""
        return Curve(self.losses[start:], self.rewards[start:], self._first())

    @property
    def loss_oscillation(self) -> float:
        """Of the loss, as a share of the loss at the first measurement: of all there was to learn."""
        return oscillation(self.losses, self._first())

    @property
    def reward_oscillation(self) -> float:
        """Of the reward, as a share of its mean."""
        return oscillation(self.rewards)

    @property
    def amplification(self) -> float:
        """How many times more sharply the reward jumps than the loss."""
        loss, reward = self.loss_oscillation, self.reward_oscillation
        return reward / loss if loss else inf if reward else 0.0

    def _first(self) -> float | None:
        return self.first_loss if self.first_loss is not None else self.losses[0] if self.losses else None
