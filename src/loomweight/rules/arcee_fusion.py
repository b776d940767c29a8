"""Arcee fusion: take over the entries whose change matters more than usual.

Source: mergekit's `arcee_fusion` (2025, https://arcee.ai). We differ: its quantiles are those of a random sample of a million
entries; ours are exact.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..edits import largest
from ..edits.only import only
from ..errors import TooFewSets
from ..shapes import Float
from ..weights import BLOCK, Block
from ..weights.held import held
from .rule import Opener, Rule
from .sets import Sets

_SMALL = 1e-8


@dataclass(frozen=True)
class ArceeFusion(Rule):
    """For two sets (a, b), tensor by tensor: b where importance >= median + 1.5 (q3 - q1), else a.

    The importance of an entry is |b - a| times the Kullback-Leibler divergence of its row, sum p log(p / q) with
    p = softmax(b) + 1e-8 and q = softmax(a) + 1e-8 over the last axis; quantile q is the value at floor(q (entries - 1)) in
    ascending order.

    >>> import loomweight as lw
    >>> a, b = torch.zeros(8, 2), torch.zeros(8, 2)
    >>> b[3] = torch.tensor([2.0, 0.0])
    >>> lw.combine([{"w": a}, {"w": b}], ArceeFusion())["w"][3]
    tensor([2., 0.])
    """

    fewest = 2

    def check(self, n: int) -> None:
        """Raise for other than two sets."""
        if n != 2:
            raise TooFewSets(f"{self} takes two weight sets, got {n}.")

    def bind(self, sets: Sets) -> Opener:
        """Opening a tensor takes one pass for the rows and three for the quantiles."""
        self.check(len(sets))
        sets.refuse_mask(self)

        def open_(name: str) -> Block:
            stack, spec = sets.open(name), sets.spec(name)
            if not spec.numel:
                return lambda lo, hi: stack(lo, hi)[0]
            importance = held(_importance(stack, spec.numel, spec.shape[-1] if spec.shape else 1), spec.numel)
            q1, middle, q3 = (_quantile(importance, spec.numel, q) for q in (0.25, 0.5, 0.75))
            threshold = middle + 1.5 * (q3 - q1)

            def block(lo: int, hi: int) -> Tensor:
                first, second = stack(lo, hi)
                chosen = importance(lo, hi) >= threshold
                return only(second, chosen) + only(first, ~chosen)

            return block

        return open_


def _importance(stack: Callable[[int, int], Tensor], numel: int, columns: int) -> Block:
    rows = numel // columns
    at_once = max(1, BLOCK // columns)
    parts = [_divergence(stack(lo * columns, min(lo + at_once, rows) * columns).reshape(2, -1, columns)) for lo in range(0, rows, at_once)]
    divergence = torch.cat(parts)

    def block(lo: int, hi: int) -> Tensor:
        first, second = stack(lo, hi)
        top, end = lo // columns, -(-hi // columns)
        each = divergence[top:end, None].expand(-1, columns).reshape(-1)[lo - top * columns : hi - top * columns]
        return second.sub_(first).abs_().mul_(each)

    return block


def _divergence(pair: Float[Tensor, "2 r c"]) -> Float[Tensor, " r"]:
    q, p = torch.softmax(pair, dim=-1).add_(_SMALL)
    return (p * (p / q).log_()).sum(-1)


def _quantile(score: Block, numel: int, q: float) -> float:
    at = int(torch.tensor(q) * (numel - 1))
    return largest(score, numel, numel - at).threshold
