"""Alpha-divergence: a loss that punishes a student both for being surer and for being less sure than its teacher.

Paper: AlphaNet: Improved Training of Supernets with Alpha-Divergence (2021, https://arxiv.org/abs/2102.07954); checked against the authors'
code (facebookresearch/AlphaNet, loss_ops.py).

We differ: ratios of probabilities are formed and clipped as logarithms, so that logits of any size, and masked ones (-inf), give finite losses and
gradients; the original divides probabilities and clips afterwards, and 0 / 0 becomes NaN. The value is the divergence itself; the original returns
a number of which only the gradient means something. For alpha = 0 the logarithm of the ratio is clipped on both sides.
"""

from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from ...errors import BadParameter


@dataclass(frozen=True)
class AlphaDivergence:
    """mean over samples of max(D_alpha_min(p || q), D_alpha_max(p || q)), p the teacher's and q the student's probabilities.

    D_alpha(p || q) = sum_k q_k f(p_k / q_k), f(r) = (r^alpha - 1) / (alpha (alpha - 1)), with r^alpha clipped at `clip`. A negative alpha punishes
    a student that gives mass to what the teacher rules out; a positive one, a student that rules out what the teacher finds likely.
    alpha = 1 is KL(p || q), alpha = 0 is KL(q || p).

    Args:
        alpha_min, alpha_max: the two that are compared for every sample.
        clip: the largest r^alpha.
        dim: the axis of the classes.

    Raises:
        BadParameter: alpha_min is not below alpha_max, or the clip is not above 1.

    >>> from loomweight.supernet import SoftLabels
    >>> sure, unsure = torch.tensor([[4.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    >>> loss = AlphaDivergence()
    >>> loss(sure, sure), loss(unsure, sure) > SoftLabels()(unsure, sure)
    (tensor(0.), tensor(True))
    """

    alpha_min: float = -1.0
    alpha_max: float = 1.0
    clip: float = 5.0
    dim: int = -1

    def __post_init__(self) -> None:
        if not self.alpha_min < self.alpha_max:
            raise BadParameter(f"alpha_min lies below alpha_max, found {self.alpha_min} and {self.alpha_max}.")
        if not self.clip > 1:
            raise BadParameter(f"the clip is above 1, the ratio of equal probabilities; found {self.clip}.")

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        """See the class. Gradients flow to the student alone."""
        log_q = torch.log_softmax(student, self.dim)
        log_p = torch.log_softmax(teacher.detach(), self.dim)
        low, low_slope = self._divergence(log_p, log_q.detach(), self.alpha_min)
        high, high_slope = self._divergence(log_p, log_q.detach(), self.alpha_max)
        value = torch.maximum(low, high)
        slope = torch.where((low > high).unsqueeze(self.dim), low_slope, high_slope)
        gradient = (slope * log_q.masked_fill(slope == 0, 0.0)).sum(self.dim)
        return (gradient + (value - gradient).detach()).mean()

    def _divergence(self, log_p: Tensor, log_q: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
        """The divergence of every sample, and its derivative by log q: -q (r f'(r) - f(r)), which is 0 where both are 0."""
        q, p = log_q.exp(), log_p.exp()
        log_r = log_p - log_q
        most = log(self.clip)
        if abs(alpha - 1) < 1e-3:
            terms, slope = p * log_r, -p
        elif abs(alpha) < 1e-3:
            log_r = log_r.clamp(-most, most)
            terms, slope = -q * log_r, -q * (log_r - 1)
        else:
            base = 1 / (alpha * (alpha - 1))
            power = (alpha * log_r).clamp(max=most).exp()
            terms, slope = q * (power - 1) * base, -q * (power / alpha + base)
        gone = torch.isneginf(log_p) & ((abs(alpha - 1) < 1e-3) | torch.isneginf(log_q))
        return terms.masked_fill(gone, 0.0).sum(self.dim), slope.masked_fill(gone, 0.0)
