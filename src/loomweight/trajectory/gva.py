"""Gradient variance amplification, watched: a policy and its average are measured along the run.

Paper: Butterfly Effects of SGD Noise: Error Amplification in Behavior Cloning and Autoregression (2023, https://arxiv.org/abs/2310.11428).
The average itself is `EMA`. The paper lets its rate fall as a power of time; here `warm_up` lets it fall as one over time until the
half-life is reached.
"""

from collections.abc import Callable

import torch
from torch import nn

from .oscillation import Curve
from .track import Track


class GVA:
    """One-step loss and long-horizon reward of a policy and of its average, side by side.

    Args:
        track: the average, an `EMA` say, of the policy that is trained.
        loss: policy -> its one-step loss on held-out data.
        reward: policy -> what it earns when it acts for long on its own: rollouts from fixed starts, or text that is generated.

    >>> policy = nn.Linear(1, 1)
    >>> ema = lw.trajectory.EMA(policy, half_life=10)
    >>> gva = GVA(ema, loss=lambda p: p.bias.square().item(), reward=lambda p: 1 / (1 + p.bias.square().item()))
    >>> gva.measure()  # before training
    >>> for sign in (1.0, -1.0, 1.0, -1.0):
    ...     _ = policy.bias.data.fill_(sign), ema.update()
    ...     gva.measure()
    >>> gva.averaged.rewards[-1] > gva.raw.rewards[-1]
    True
    """

    def __init__(self, track: Track, loss: Callable[[nn.Module], float], reward: Callable[[nn.Module], float]) -> None:
        self.track, self.loss, self.reward = track, loss, reward
        self.raw, self.averaged = Curve(), Curve()

    @torch.no_grad()
    def measure(self) -> None:
        """Measure both now, without gradients. Before the average has begun, it is the policy itself."""
        self._into(self.raw)
        if not self.track.ready:
            self._into(self.averaged)
            return
        with self.track.applied():
            self._into(self.averaged)

    def _into(self, curve: Curve) -> None:
        loss, reward = float(self.loss(self.track.model)), float(self.reward(self.track.model))
        curve.losses.append(loss)
        curve.rewards.append(reward)
