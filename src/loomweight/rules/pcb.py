"""PCB-Merging: balance how much each entry matters within its task and how well it fits the others.

Paper: Parameter Competition Balancing for Model Merging (2024, https://arxiv.org/abs/2410.02396), equations 1 to 4.
Original code: https://github.com/duguodong7/pcb-merging at 5897888b, which uses exp(n norm(|d|)^2) and tanh instead of the
softmaxes, clips outliers, and rescales the kept scores to [0, 1]; here the paper's formula stands.
We differ: statistics are of each tensor, not of the whole task vector.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement

import torch
from torch import Tensor

from ..edits import largest
from ..errors import BadParameter
from ..shapes import Float
from ..weights import Block
from ..weights.spec import spans
from .rule import Opener, Rule
from .sets import Sets

# N = sets, P = entries of a block; a pair is (i, j), i <= j


@dataclass(frozen=True)
class PCB(Rule):
    """On differences d_i of one tensor: sum_i b_i d_i / sum_i b_i, entry by entry.

    b_i = softmax(N norm(d_i^2)) * sum_j softmax(norm(d_i d_j)), softmax over the entries of the tensor, norm to [0, 1] by its
    least and largest value; the smaller b_i are set to 0, all but k = max(1, floor(keep * entries)), ties by position. Where
    nothing is kept the result is 0. Breakdown point 0.

    Args:
        keep: r, part of the entries of each set that is kept, in (0, 1].

    >>> import loomweight as lw
    >>> sets = [{"w": torch.tensor([1.0, 0.0, 0.0])}, {"w": torch.tensor([0.0, -2.0, 0.0])}]
    >>> lw.combine(sets, PCB(keep=0.34))["w"]  # each set keeps its own strongest entry
    tensor([ 1., -2.,  0.])
    """

    keep: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise BadParameter(f"PCB: keep must lie in (0, 1], found {self.keep}.")

    def bind(self, sets: Sets) -> Opener:
        """Opening a tensor takes two passes for the softmaxes and about one for each set's threshold."""
        self.check(len(sets))
        sets.refuse_mask(self)

        def open_(name: str) -> Block:
            stack, numel = sets.open(name), sets.spec(name).numel
            if not numel:
                return lambda lo, hi: stack(lo, hi).sum(0)
            scores = _Scores(stack, numel, len(sets))
            k = max(1, int(self.keep * numel))
            cuts = [largest(lambda lo, hi, i=i: scores.of(i, stack(lo, hi)), numel, k, name) for i in range(len(sets))]

            def block(lo: int, hi: int) -> Tensor:
                rows = stack(lo, hi)
                moved, mass = torch.zeros_like(rows[0]), torch.zeros_like(rows[0])
                for i, cut in enumerate(cuts):
                    score = scores.of(i, rows)
                    score *= cut.mask(score, lo)
                    moved.addcmul_(score, rows[i])
                    mass += score
                return moved.div_(mass.masked_fill_(mass == 0, 1.0))

            return block

        return open_


class _Scores:
    """The scores b_i, up to a factor that is the same for all sets: softmaxes are multiplied by the number of entries."""

    def __init__(self, stack: Block, numel: int, n: int) -> None:
        self.n = n
        pairs = list(combinations_with_replacement(range(n), 2))
        low = dict.fromkeys(pairs, float("inf"))
        high = dict.fromkeys(pairs, float("-inf"))
        for lo, hi in spans(numel):
            for pair, product in _products(stack(lo, hi), pairs):
                least, most = torch.aminmax(product)
                low[pair], high[pair] = min(low[pair], float(least)), max(high[pair], float(most))
        self.low = low
        self.scale = {pair: 1 / (high[pair] - low[pair]) if high[pair] > low[pair] else 0.0 for pair in pairs}
        intra, inter = [0.0] * n, dict.fromkeys(pairs, 0.0)
        for lo, hi in spans(numel):
            for pair, product in _products(stack(lo, hi), pairs):
                normed = product.sub_(low[pair]).mul_(self.scale[pair])
                inter[pair] += float(normed.exp().sum(dtype=torch.float64))
                if pair[0] == pair[1]:
                    intra[pair[0]] += float(normed.mul_(n).exp_().sum(dtype=torch.float64))
        self.intra = [numel / total for total in intra]
        self.inter = {pair: numel / total for pair, total in inter.items()}

    def of(self, i: int, rows: Float[Tensor, "n p"]) -> Float[Tensor, " p"]:
        """b_i of the entries in these rows."""
        fit = torch.zeros_like(rows[0])
        own = None
        for j in range(self.n):
            pair = (min(i, j), max(i, j))
            normed = (rows[i] * rows[j]).sub_(self.low[pair]).mul_(self.scale[pair])
            if i == j:
                own = (normed * self.n).exp_().mul_(self.intra[i])
            fit.add_(normed.exp_(), alpha=self.inter[pair])
        assert own is not None
        return own.mul_(fit)


def _products(rows: Float[Tensor, "n p"], pairs: list[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], Float[Tensor, " p"]]]:
    for i, j in pairs:
        yield (i, j), rows[i] * rows[j]
