"""GAS: sets are judged by how far the parts of them lie from what a robust rule makes of each part.

Paper: Byzantine-Robust Learning on Heterogeneous Data via Gradient Splitting (2023, https://arxiv.org/abs/2302.06079), algorithm 1.
Original code: https://github.com/YuchenLiu-a/byzantine-gas at ff1e544 (server/base.py).
We differ: entries are thrown into parts block by block, the same number (but for one) of every block's entries into every part, so that
the sets are streamed and not permuted as a whole; and the draw is keyed by (seed, tensor's name), so that it repeats.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self, cast

import numpy as np
import torch
from torch import Tensor

from ..errors import BadParameter
from ..evidence.keyed import generator
from ..shapes import Float, Float64
from ..weights.spec import spans
from .geometry import Matrix, squared_distances, tolerates
from .mix import mixed
from .network import at_once
from .rule import Opener, Pointwise, Rule, Weighing
from .sets import Sets

# N = sets, Q = parts, E = entries of one part in a block
_EQUAL = 1e-9  # relative


@dataclass(frozen=True)
class GradientSplitting(Rule):
    """The mean of the n - f sets with the smallest scores s_i = sum_q |w_i^(q) - rule(w_1^(q), ..., w_n^(q))|.

    w^(q) are the entries of part q of `parts`, into which entries are thrown at random. Parts are of low dimension, where robust rules
    tell good sets from bad although good ones differ. Sets with equal scores that compete for the last places share them.

    The sets are read once for the scores and those chosen once more. For a weighing rule there is a Gram matrix for each part, which takes
    parts x n x n numbers of memory and twice the time.

    Bound: n > 2 f, and the rule's own. A chosen set lies no farther from the rule's results than the worst good set does, up to
    a factor sqrt(parts): breakdown point as of `rule`, f at most.

    Args:
        rule: a pointwise or weighing rule, which judges.
        parts: how many; more than there are entries in a block leaves some empty there.
        f: how many sets may be bad.
        seed: decides which entry goes into which part.

    Raises:
        TooFewSets: n <= 2 f, or too few for the rule.
        BadParameter: parts below 1, or a rule of another shape.

    >>> from loomweight.rules import Median, combine
    >>> sets = [{"w": torch.tensor([x, x + 1])} for x in (1.0, 2.0, 3.0, 99.0)]
    >>> combine(sets, GradientSplitting(Median(), parts=2, f=1))["w"]
    tensor([2., 3.])
    """

    rule: Rule
    parts: int = 100
    f: int = 0
    seed: int = 0

    def check(self, n: int) -> None:
        """Raise unless n > 2 f and the rule can judge."""
        tolerates(self, n, self.f, 2 * self.f + 1, "n > 2 f")
        self.rule.check(n)
        if self.parts < 1:
            raise BadParameter(f"{self}: parts must be at least 1.")
        if not isinstance(self.rule, Weighing | Pointwise):
            raise BadParameter(f"{self}: {type(self.rule).__name__} is neither a weighing nor a pointwise rule.")

    def restricted(self, kept: Sequence[int], n: int) -> Self:
        """Here and in the rule."""
        return replace(super().restricted(kept, n), rule=self.rule.restricted(kept, n))

    def bind(self, sets: Sets) -> Opener:
        """Read all sets once for the scores; the result reads the chosen ones a second time."""
        self.check(len(sets))
        sets.refuse_mask(self)
        return mixed(sets, _lowest(self.scores(sets), len(sets) - self.f).tolist())

    def scores(self, sets: Sets) -> Matrix:
        """s_i, from one pass over all sets."""
        rule, n, parts = self.rule, len(sets), self.parts
        if isinstance(rule, Weighing):
            grams = self._summed(sets, lambda rows, order: _products(rows, order, parts), (parts, n, n))
            return np.sum([_from_gram(torch.from_numpy(gram), rule) for gram in grams], axis=0)
        return np.sqrt(self._summed(sets, lambda rows, order: _away(cast(Pointwise, rule), rows, order, parts), (parts, n))).sum(0)

    def _summed(self, sets: Sets, found: Callable[[Tensor, Tensor], Matrix], shape: tuple[int, ...]) -> Matrix:
        """What is found in each block, added up; with the block comes the order in which its entries are dealt to the parts."""
        total = np.zeros(shape)
        for name in sorted(sets.names):
            stack = sets.open(name)
            for lo, hi in spans(sets.spec(name).numel, at_once(len(sets))):
                total += found(stack(lo, hi), torch.randperm(hi - lo, generator=generator("splitting", self.seed, name, lo)))
        return total


def _away(rule: Pointwise, rows: Float[Tensor, "n p"], order: Tensor, parts: int) -> Matrix:
    """For each part and set, the squared distance from the rule's result; entry k is of part `order[k]`, modulo their number."""
    apart, part = rows - rule(rows), order % parts
    squares_NQ = apart.new_zeros(len(rows), parts).index_add_(1, part, apart.square())
    if not squares_NQ.isfinite().all():
        squares_NQ = torch.zeros(len(rows), parts, dtype=torch.float64).index_add_(1, part, apart.double().square())
    return squares_NQ.T.double().cpu().numpy()


def _products(rows: Float[Tensor, "n p"], order: Tensor, parts: int) -> Matrix:
    """A Gram matrix for each part, in float64, so that small differences keep their precision. What stands at place k of the order is of part k, modulo
    their number.
    """
    n, whole = len(rows), len(order) // parts * parts
    dealt = rows.double().index_select(1, order)
    split_QNE = dealt[:, :whole].reshape(n, -1, parts).permute(2, 0, 1)
    products = split_QNE @ split_QNE.transpose(1, 2)
    rest_RN = dealt[:, whole:].T
    products[: len(rest_RN)] += rest_RN[:, :, None] * rest_RN[:, None, :]
    return products.cpu().numpy()


def _from_gram(gram: Float64[Tensor, "n n"], rule: Weighing) -> Matrix:
    """The distance of each set from the rule's result, in one part."""
    share = rule.coefficients(gram).numpy()
    apart = squared_distances(gram.numpy())
    if abs(share.sum() - 1) > _EQUAL:
        along = gram.numpy() @ share
        return np.sqrt(np.maximum(gram.numpy().diagonal() - 2 * along + share @ along, 0))
    return np.sqrt(np.maximum(apart @ share - share @ apart @ share / 2, 0))


def _lowest(scores: Matrix, count: int) -> Matrix:
    """1 / count for the lowest scores; equal ones share the last places."""
    order = np.argsort(scores, kind="stable")
    chosen = np.zeros(len(scores))
    chosen[order[:count]] = 1
    equal = np.isclose(scores, scores[order[count - 1]], rtol=_EQUAL, atol=0)
    chosen[equal] = chosen[equal].mean()
    return chosen / count
