"""PCB-Merging: balance how much each entry matters within its task and how well it fits the others.

Paper: Parameter Competition Balancing for Model Merging (2024, https://arxiv.org/abs/2410.02396), equations 1 to 4.
Original code: https://github.com/duguodong7/pcb-merging at 5897888b, which uses exp(n norm(|d|)^2) and tanh instead of the
softmaxes, clips outliers, and rescales the kept scores to [0, 1]; here the paper's formula stands.
We differ: statistics are of each tensor, not of the whole task vector.
"""

from collections.abc import Callable, Iterator, Sequence
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

Pair = tuple[int, int]


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

            if not numel:
                return lambda lo, hi: torch.zeros_like(reads[0](lo, hi))
            differences = [held(read, numel, n) for read in reads]

            def rows(lo: int, hi: int) -> list[Tensor]:
                return [read(lo, hi) for read in differences]

            scores = _Scores(rows, numel, n)
            every = held(lambda lo, hi: torch.stack(scores.of(range(n), lo, hi)), numel, n)
            one_by_one = n * numel > MOST
            k = max(1, int(self.keep * numel))
            cuts = []
            for i in range(n):
                score = (lambda lo, hi, i=i: scores.of([i], lo, hi)[0]) if one_by_one else (lambda lo, hi, i=i: every(lo, hi)[i])
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
        self.n, self.rows = n, rows
        low = dict.fromkeys(self.pairs, float("inf"))
        high = dict.fromkeys(self.pairs, float("-inf"))
        for lo, hi in spans(numel):
            here = rows(lo, hi)
            for i, j in self.pairs:
                least, most = torch.aminmax(here[i] * here[j])
                low[i, j], high[i, j] = min(low[i, j], least.item()), max(high[i, j], most.item())
        self.scale = {pair: log2(e) / (high[pair] - low[pair]) if high[pair] > low[pair] else 0.0 for pair in self.pairs}
        self.shift = {pair: torch.tensor(-low[pair] * self.scale[pair], dtype=here[0].dtype, device=here[0].device) for pair in self.pairs}
        self.kept = held(lambda lo, hi: self._stacked(rows(lo, hi)), numel, len(self.pairs)) if len(self.pairs) * numel <= MOST else None
        intra, inter = [0.0] * n, dict.fromkeys(self.pairs, 0.0)
        for lo, hi in spans(numel):
            for (i, j), raised in self._raised(self.pairs, lo, hi):
                inter[i, j] += raised.sum().item()
                if i == j:
                    intra[i] += _power(raised, n).sum().item()
        self.intra = [numel / total for total in intra]
        self.inter = {pair: numel / total for pair, total in inter.items()}

    def of(self, wanted: Sequence[int], lo: int, hi: int) -> list[Tensor]:
        """b_i of these entries, for the wanted sets; what two sets share is computed once."""
        fit: dict[int, Tensor] = {}
        own: dict[int, Tensor] = {}
        for (i, j), raised in self._raised([pair for pair in self.pairs if not set(pair).isdisjoint(wanted)], lo, hi):
            for one in {i, j}.intersection(wanted):
                factor = self.intra[one] * self.inter[i, j]
                fit[one] = fit[one].add_(raised, alpha=factor) if one in fit else raised * factor
            if i == j:
                own[i] = _power(raised, self.n)
        return [own[i].mul_(fit[i]) for i in wanted]

    def _raised(self, pairs: Sequence[Pair], lo: int, hi: int) -> Iterator[tuple[Pair, Tensor]]:
        """exp(norm(d_i d_j)) for these pairs, from memory where the tensor is small."""
        if self.kept:
            everyone = dict(zip(self.pairs, self.kept(lo, hi), strict=True))
            yield from ((pair, everyone[pair]) for pair in pairs)
            return
        rows = self.rows(lo, hi)
        for pair in pairs:
            yield pair, self._power_of_2(rows, pair, torch.empty_like(rows[0]))

    def _stacked(self, rows: list[Tensor]) -> Tensor:
        stack = rows[0].new_empty(len(self.pairs), len(rows[0]))
        for pair, out in zip(self.pairs, stack, strict=True):
            self._power_of_2(rows, pair, out)
        return stack

    def _power_of_2(self, rows: list[Tensor], pair: Pair, out: Tensor) -> Tensor:
        """exp(norm(d_i d_j)), as a power of 2: that is three times as fast."""
        i, j = pair
        return torch.addcmul(self.shift[pair], rows[i], rows[j], value=self.scale[pair], out=out).exp2_()


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
