"""A little is enough, with the factor that harms the very defence most.

Papers: A Little Is Enough: Circumventing Defenses For Distributed Learning (2019, https://arxiv.org/abs/1902.06156);
Fixing by Mixing: A Recipe for Optimal Byzantine ML under Heterogeneity (2023, https://arxiv.org/abs/2302.01772), section 6 (the line search).
The search is that of byzfl 0.0.11.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from numpy.random import Generator

from ...rules import Mean, Rule
from ..plain import Reply, Tensors
from .attack import Attack
from .forging import spread
from .strongest import Search, strongest


@dataclass(frozen=True)
class OptimalAlie(Attack):
    """h + tau s (h: the mean, s: the standard deviation of the honest updates) with the tau for which the defence ends farthest from h.

    Args:
        defence: the rule that the server uses.
        attackers: how many send the same.
        search: over tau: how often the defence is tried, and from where.

    >>> import numpy as np
    >>> from loomweight.rules import Median
    >>> honest = [{"w": torch.tensor([x])} for x in (1.0, 2.0, 4.0)]
    >>> forged = OptimalAlie(Median()).forge(Reply("eve", 0, honest[0]), honest, np.random.default_rng(0)).update["w"]
    >>> float(abs(forged)) > 10  # the median does not get any farther with more
    True
    """

    defence: Rule = field(default_factory=Mean)
    attackers: int = 1
    search: Search = field(default_factory=Search)

    def forge(self, own: Reply, honest: Sequence[Tensors], draw: Generator) -> Reply:
        """Of the honest updates, after the search."""
        return strongest(own, honest, lambda stack, tau: stack.mean(0) + tau * spread(stack), self.defence, self.attackers, self.search)
