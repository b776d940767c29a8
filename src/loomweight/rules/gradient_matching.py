"""Uncertainty-based gradient matching: task arithmetic preconditioned by Hessians.

Paper: Model Merging by Uncertainty-Based Gradient Matching (2023, https://arxiv.org/abs/2310.12808), equation 12.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from ..errors import BadParameter
from ..weights import Block, Weights
from ..weights.algebra import keep, working
from .proof import known, match, opened
from .rule import Opener, Rule
from .sets import Sets, guarded


@dataclass(frozen=True)
class GradientMatching(Rule):
    """w_0 + sum_t a_t (H_0 + H_t) (w_t - w_0) / Hbar, with Hbar = H_0 + sum_t a_t H_t; all Hessians diagonal.

    Special cases, each a test: H_t = 0 gives task arithmetic with factors a_t; H_0 = 0 and H_t equal give the mean weighted
    by a_t; H_0 = 0 gives Fisher merging with weights a_t. Breakdown point 0.

    Args:
        base: w_0, the pretrained set.
        evidence: H_t, a diagonal Fisher or Hessian of each fine-tuned model, none negative.
        base_evidence: H_0, that of the base (the paper adds its regulariser delta to it: see `delta`); None is 0.
        weights: a_t; None is 1 for each.
        delta: added to H_0, the precision of the prior around the base.

    Raises:
        BadParameter: evidence that is missing or negative, negative weights or delta.
        NonFinite: evidence that holds NaN or Inf.

    >>> from loomweight.rules import combine
    >>> base, light, heavy = (Weights.of({"w": torch.tensor([x])}) for x in (0.0, 1.0, 3.0))
    >>> combine([{"w": torch.tensor([1.0])}, {"w": torch.tensor([5.0])}], GradientMatching(base, (light, heavy)))["w"]  # (1 + 3 * 5) / 4
    tensor([4.])
    """

    base: Weights
    evidence: tuple[Weights, ...]
    base_evidence: Weights | None = None
    weights: tuple[float, ...] | None = None
    delta: float = 1e-10

    def check(self, n: int) -> None:
        """Raise unless there is evidence for each set and nothing is negative."""
        super().check(n)
        match(self, self.evidence, n)
        if self.delta < 0 or min(self.weights or (1.0,)) < 0:
            raise BadParameter(f"{type(self).__name__}: delta and weights must not be negative.")

    def restricted(self, kept: Sequence[int], n: int) -> Self:
        """Evidence and weights follow the sets."""
        return replace(super().restricted(kept, n), evidence=tuple(self.evidence[i] for i in kept))

    def bind(self, sets: Sets) -> Opener:
        """Read base, sets and evidence side by side."""
        self.check(len(sets))
        sets.refuse_mask(self)
        proofs = self.evidence + ((self.base_evidence,) if self.base_evidence else ())
        known(self, proofs, sets, "raise")
        base = guarded(keep(self.base, sets.names))
        factors = self.weights or (1.0,) * len(sets)

        def open_(name: str) -> Block:
            start, reads, facts = working(base, name), sets.reads(name), opened(self.evidence, name)
            prior = opened([self.base_evidence], name)[0] if self.base_evidence else None

            def block(lo: int, hi: int) -> Tensor:
                origin = start(lo, hi)
                known_before = prior(lo, hi) + self.delta if prior else torch.full_like(origin, self.delta)
                total, moved = known_before.clone(), torch.zeros_like(origin)
                for read, fact, factor in zip(reads, facts, factors, strict=True):
                    precision = fact(lo, hi)
                    total.add_(precision, alpha=factor)
                    moved.add_((known_before + precision) * (read(lo, hi) - origin), alpha=factor)
                return origin + torch.where(total > 0, moved / total, 0.0)

            return block

        return open_
