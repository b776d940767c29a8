"""What a larger batch asks of the learning rate, Adam and the average, so that the run stays the same.

Paper: How to Scale Your EMA (2023, https://arxiv.org/abs/2307.13813), definition 1.2, with progressive scaling;
On the SDEs and Scaling Rules for Adaptive Gradient Algorithms (2022, https://arxiv.org/abs/2205.10287), definition 5.3, for Adam.
"""

from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Literal, get_args

import torch

from ..errors import BadParameter

Kind = Literal["sgd", "adam"]


@dataclass(frozen=True)
class ScalingRule:
    """The settings for batches that are kappa times as large; see `scaling_rule`.

    >>> ScalingRule(4, "adam").learning_rate(0.1)
    0.2
    """

    kappa: float
    kind: Kind

    def __post_init__(self) -> None:
        if not (isfinite(self.kappa) and self.kappa > 0) or self.kind not in get_args(Kind):
            raise BadParameter(f"kappa, the factor of the batch, is a positive number, and the rule is sgd or adam; found {self.kappa} and {self.kind!r}.")

    def decay(self, rho: float) -> float:
        """rho^kappa: the decay per step of an average of the weights. A half-life in samples needs no change."""
        if not 0 <= rho <= 1:
            raise BadParameter(f"a decay lies in [0, 1], found {rho}.")
        return rho**self.kappa

    def learning_rate(self, rate: float) -> float:
        """kappa * rate for SGD, sqrt(kappa) * rate for Adam."""
        return rate * (self.kappa if self.kind == "sgd" else sqrt(self.kappa))

    def beta(self, beta: float) -> float:
        """1 - kappa (1 - beta), for each of Adam's two.

        Raises:
            BadParameter: that is negative: the moment would have to forget faster than in one step.
        """
        scaled = 1 - self.kappa * (1 - beta)
        if scaled < 0:
            raise BadParameter(f"beta={beta} cannot be scaled by {self.kappa}: 1 - kappa (1 - beta) is {scaled:.4g}; kappa is at most {1 / (1 - beta):.4g}.")
        return scaled

    def eps(self, eps: float) -> float:
        """eps / sqrt(kappa), for Adam."""
        return eps / sqrt(self.kappa)

    def change(self, optimizer: torch.optim.Optimizer) -> None:
        """Set an optimizer's groups to the scaled settings during the run (progressive scaling): its state stays, and the next batch is the larger one.

        A scheduler computes learning rates from base values of its own: scale `scheduler.base_lrs` too, or multiply in its function.

        Raises:
            BadParameter: a rule for Adam on an optimizer without betas, or the other way round; a beta that cannot be scaled. Nothing has changed then.
        """
        changes = [self._of(group) for group in optimizer.param_groups]
        for group, new in zip(optimizer.param_groups, changes, strict=True):
            group.update(new)

    def _of(self, group: dict[str, object]) -> dict[str, object]:
        if ("betas" in group) != (self.kind == "adam"):
            raise BadParameter(f"the rule is that of {self.kind}, and the optimizer has {'betas' if 'betas' in group else 'no betas'}; give the other kind.")
        if other := {"alpha", "lr_decay", "rho"} & set(group):
            raise BadParameter(f"the optimizer scales its steps by itself ({', '.join(sorted(other))}), and is neither SGD nor Adam: no rule for it is known.")
        new: dict[str, object] = {word: self.learning_rate(group[word]) for word in ("lr", "initial_lr") if word in group}  # type: ignore[arg-type]
        if self.kind == "adam":
            new |= {"betas": tuple(self.beta(beta) for beta in group["betas"]), "eps": self.eps(group["eps"])}  # type: ignore[union-attr, arg-type]
        return new


def scaling_rule(kappa: float, kind: Kind = "sgd") -> ScalingRule:
    """The EMA scaling rule: the run and its average follow the same path, in samples, when the batch grows by kappa.

    decay rho -> rho^kappa; SGD: learning rate -> kappa * learning rate, momentum stays; Adam: learning rate -> sqrt(kappa) * learning rate,
    beta -> 1 - kappa (1 - beta), eps -> eps / sqrt(kappa). It holds while steps are small. Accumulated gradients are a larger batch. `EMA` and all
    averages here count samples, so that they need nothing but `update(samples=...)`; the rule is for settings that are told per step.

    Args:
        kappa: the new batch over the old one; below 1 where it shrinks.
        kind: "sgd", or "adam" for Adam, AdamW and RMSProp-like optimizers with betas.

    Raises:
        BadParameter: kappa is not a positive number; no such kind.

    >>> rule = scaling_rule(8)
    >>> round(rule.decay(0.999), 6), rule.learning_rate(0.1)
    (0.992028, 0.8)
    >>> optimizer = torch.optim.Adam([torch.zeros(1)], lr=1e-3, betas=(0.9, 0.99))
    >>> scaling_rule(4, "adam").change(optimizer)
    >>> [round(beta, 6) for beta in optimizer.param_groups[0]["betas"]], optimizer.param_groups[0]["lr"]
    ([0.6, 0.96], 0.002)
    """
    return ScalingRule(kappa, kind)
