"""A rule that starts from what the round before came to: with `CenteredClip`, the history of its paper.

Paper: Learning from History for Byzantine Robust Optimization (2020, https://arxiv.org/abs/2012.10333), algorithm 2.
Code read: epfml/byzantine-robust-optimizer at 288417f. We differ: any rule may stand for centered clipping.
"""

from dataclasses import dataclass, field, replace

import torch

from ...rules import Around, CenteredClip, Rule
from ...weights import Weights
from ..plain import Plain, Tensors
from .aggregate import Aggregate, Book, kept
from .pool import Pool, stepped


@dataclass(frozen=True)
class AroundLast(Aggregate):
    """u_t = u_(t-1) + rule(updates - u_(t-1)); w <- w + rate u_t; u_0 = 0.

    With `CenteredClip(tau)` the steps start at the pooled update of the round before. The paper's workers send momentum: put
    `PolyakMomentum(0.9)` into the objective.

    Args:
        rule: of the differences.
        rate: the server's learning rate.

    >>> AroundLast(CenteredClip(tau=1.0)).rate
    1.0
    """

    rule: Rule = field(default_factory=CenteredClip)
    rate: float = 1.0

    def check(self, count: int, refused: int = 0) -> None:
        """As the rule does."""
        Pool(self.rule).check(count, refused)

    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        """A step along the pooled update, which is kept for the next round."""
        replies = kept(held)
        last = state.get("last") or {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
        pool = Pool(self.rule)
        rule = pool.rule_for([reply.weight for reply in replies], len(replies) + len(book.refused))
        change = replace(pool, rule=Around(Weights.of(last), rule)).change(held, book)
        return stepped(weights, change, self.rate), {"last": change}
