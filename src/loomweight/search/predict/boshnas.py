"""BOSHNAS: a network with uncertainty learns what configurations are worth, and steps on its input find the next one.

Paper: FlexiBERT: Are Current Transformer Architectures too Homogeneous and Rigid? (2022, https://arxiv.org/abs/2205.11656), algorithm 1. Original code:
https://github.com/jha-lab/txf_design-space (boshnas/). As there: an upper confidence bound (mean + 0.5 standard deviations, for a maximum), AdaHessian on
the input from several starts, clipped to the space, then the nearest valid configuration; sometimes the most uncertain configuration is asked for instead
(uncertainty sampling), sometimes a random one (diversity sampling). We differ: one mixture of networks (`Heteroscedastic`) gives both uncertainties,
where theirs takes three, a natural-parameter network, a teacher with dropout, and a student that learns the teacher's spread to have its gradient; it is
trained anew for each proposal; starts are the best known and random configurations; among the ends the one of the largest bound that was not tried yet is
taken. The embedding by graph similarity is left to the caller: fields are encoded by the space.

On NAS-Bench-201 it lies between random search and evolution (docs/BENCHMARKS.md). Where the best configuration lies inside a bowl, networks with a few dozen
labels point to a corner again and again, and random search finds more.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ...errors import BadParameter
from ..sampler import Past, Sampler, key_of
from ..space import Values
from .ascent import ascend, nearest
from .heteroscedastic import Heteroscedastic
from .predictor import Array, Scale
from .training import tensor

SURROGATE = Heteroscedastic()


@dataclass(frozen=True)
class BOSHNAS(Sampler):
    """Maximises mean + doubt * standard deviation of a neural surrogate by second-order steps on the encoded configuration.

    Args:
        first: random trials before the surrogate is asked.
        doubt: standard deviations that are added to the mean.
        uncertain: the probability that the standard deviation alone is maximised.
        random: the probability that a random configuration is tried.
        starts: of the steps, half of them at the best trials so far, half drawn.
        surrogate: the networks.

    Raises:
        BadParameter: fewer than 2 first trials, no start, or probabilities that are none.

    >>> from loomweight.search import Ordered, Space, Study
    >>> space = Space({f"width{i}": Ordered((8, 16, 32, 64)) for i in range(4)})
    >>> study = Study(space, sampler=BOSHNAS(first=6, starts=4)).run(lambda v: sum(v.values()), 12)
    >>> study.best.values[0] > 150
    True
    """

    first: int = 10
    doubt: float = 0.5
    uncertain: float = 0.1
    random: float = 0.1
    starts: int = 16
    surrogate: Heteroscedastic = SURROGATE

    def __post_init__(self) -> None:
        if self.first < 2 or self.starts < 1 or min(self.uncertain, self.random) < 0 or self.uncertain + self.random > 1:
            raise BadParameter(f"{self} needs at least 2 first trials, 1 start, and probabilities whose sum is at most 1.")

    def propose(self, past: Past) -> Values:
        """A random configuration at first; later the end of the best ascent."""
        known = [trial for trial in past.finished if np.isfinite(trial.values[0])]
        coin = past.draw.random()
        if len(past.trials) < self.first or len(known) < 2 or coin < self.random:
            return past.space.sample(past.draw)
        scores = np.array([past.score(trial) for trial in known])
        codes = np.array([past.space.encode(trial.parameters) for trial in known], dtype=np.float64)
        seed = int(past.draw.integers(2**31))
        bound = self._bound(codes, scores, only_doubt=coin < self.random + self.uncertain, seed=seed)
        ends = ascend(bound, tensor(self._starts(past, codes, scores)), torch.Generator().manual_seed(seed))
        tried = {key_of(trial.parameters) for trial in past.trials}
        found = [values for values in (nearest(past.space, end) for end in ends.double().numpy()) if key_of(values) not in tried]
        if not found:
            return past.space.mutate(known[int(scores.argmax())].parameters, past.draw)
        with torch.no_grad():
            worth = bound(tensor(np.array([past.space.encode(values) for values in found], dtype=np.float64)))
        return found[int(worth.argmax())]

    def _starts(self, past: Past, codes: Array, scores: Array) -> Array:
        best = codes[np.argsort(-scores, kind="stable")[: self.starts // 2]]
        drawn = [past.space.encode(past.space.sample(past.draw)) for _ in range(self.starts - len(best))]
        return np.vstack([best, np.array(drawn, dtype=np.float64)])

    def _bound(self, codes: Array, scores: Array, *, only_doubt: bool, seed: int) -> Callable[[Tensor], Tensor]:
        """The acquisition of encoded rows, in standard deviations of the scores."""
        columns = Scale.of(codes)
        shift, stretch = tensor(columns.shift), tensor(columns.stretch)
        mixture = replace(self.surrogate, seed=seed).trained(columns.apply(codes), Scale.of(scores).apply(scores))
        for parameter in mixture.parameters:
            parameter.requires_grad_(False)

        def bound(rows: Tensor) -> Tensor:
            mean, noise, doubt = mixture((rows - shift) / stretch)
            spread = (noise + doubt).sqrt()
            return spread if only_doubt else mean + self.doubt * spread

        return bound
