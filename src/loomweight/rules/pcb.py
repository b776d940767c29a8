"""PCB-Merging: balance how much each entry matters within its task and how well it fits the others.

Paper: Parameter Competition Balancing for Model Merging (2024, https://arxiv.org/abs/2410.02396), equations 1 to 4.
Original code: https://github.com/duguodong7/pcb-merging at 5897888b, which uses exp(n norm(|d|)^2) and tanh instead of the
softmaxes, clips outliers, and rescales the kept scores to [0, 1]; here the paper's formula stands.
We differ: statistics are of each tensor, not of the whole task vector.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import e, log2

import torch
from torch import Tensor

from ..edits import largest
from ..edits.only import only
from ..errors import BadParameter
from ..shapes import Float
from ..weights import Block
from ..weights.held import MOST, held
from ..weights.spec import spans
from .rule import Opener, Rule
from .sets import Sets


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
        """Opening a tensor takes two passes for the softmaxes, and one for the scores or, of a large tensor, one for each set's."""
        self.check(len(sets))
        sets.refuse_mask(self)

        def open_(name: str) -> Block:
            reads, numel, n = sets.reads(name), sets.spec(name).numel, len(sets)

            def rows(lo: int, hi: int) -> list[Tensor]:
                return [read(lo, hi) for read in reads]

            if not numel:
                return lambda lo, hi: torch.zeros_like(reads[0](lo, hi))
            scores = _Scores(rows, numel, n)
            every = held(lambda lo, hi: torch.stack(scores.of(range(n), rows(lo, hi))), numel, n)
            one_by_one = n * numel > MOST
            k = max(1, int(self.keep * numel))
            cuts = []
            for i in range(n):
                score = (lambda lo, hi, i=i: scores.of([i], rows(lo, hi))[0]) if one_by_one else (lambda lo, hi, i=i: every(lo, hi)[i])
                cuts.append(largest(score, numel, k, name))

            def block(lo: int, hi: int) -> Tensor:
                parts = [only(score, cut.mask(score, lo)) for score, cut in zip(every(lo, hi), cuts, strict=True)]
                moved, mass = torch.zeros_like(parts[0]), torch.zeros_like(parts[0])
                for score, row in zip(parts, rows(lo, hi), strict=True):
                    moved.addcmul_(score, row)
                    mass += score
                return moved.div_(mass.clamp_(min=torch.finfo(mass.dtype).tiny))

            return block

        return open_


class _Scores:
    """The scores b_i, up to a factor that is the same for all sets: softmaxes are multiplied by the number of entries."""

    def __init__(self, rows: Callable[[int, int], list[Tensor]], numel: int, n: int) -> None:
        self.pairs = list(combinations_with_replacement(range(n), 2))
        self.n = n
        low = dict.fromkeys(self.pairs, float("inf"))
        high = dict.fromkeys(self.pairs, float("-inf"))
        for lo, hi in spans(numel):
            here = rows(lo, hi)
            for i, j in self.pairs:
                least, most = torch.aminmax(here[i] * here[j])
                low[i, j], high[i, j] = min(low[i, j], least.item()), max(high[i, j], most.item())
        self.scale = {pair: log2(e) / (high[pair] - low[pair]) if high[pair] > low[pair] else 0.0 for pair in self.pairs}
        self.shift = {pair: torch.tensor(-low[pair] * self.scale[pair], dtype=here[0].dtype, device=here[0].device) for pair in self.pairs}
        intra, inter = [0.0] * n, dict.fromkeys(self.pairs, 0.0)
        for lo, hi in spans(numel):
            here = rows(lo, hi)
            for i, j in self.pairs:
                raised = self._raised(here, i, j)
                inter[i, j] += raised.sum().item()
                if i == j:
                    intra[i] += _power(raised, n).sum().item()
        self.intra = [numel / total for total in intra]
        self.inter = {pair: numel / total for pair, total in inter.items()}

    def of(self, wanted: Sequence[int], rows: list[Tensor]) -> list[Tensor]:
        """b_i of the entries in these rows, for the wanted sets; what two sets share is computed once."""
        fit = {i: torch.zeros_like(rows[i]) for i in wanted}
        own = {}
        for i, j in self.pairs:
            if i in fit or j in fit:
                raised = self._raised(rows, i, j)
                for one in {i, j} & fit.keys():
                    fit[one].add_(raised, alpha=self.inter[i, j])
                if i == j:
                    own[i] = _power(raised, self.n).mul_(self.intra[i])
        return [own[i].mul_(fit[i]) for i in wanted]

    def _raised(self, rows: list[Tensor], i: int, j: int) -> Tensor:
        """exp(norm(d_i d_j)), as a power of 2: that is three times as fast."""
        return torch.addcmul(self.shift[i, j], rows[i], rows[j], value=self.scale[i, j]).exp2_()


def _power(x: Float[Tensor, " p"], n: int) -> Float[Tensor, " p"]:
    """x^n by products, in fresh memory.

    >>> _power(torch.tensor([2.0]), 5)
    tensor([32.])
    """
    result = x.clone()
    for bit in f"{n:b}"[1:]:
        result.square_()
        if bit == "1":
            result.mul_(x)
    return result
