"""Regularised evolution: the best of a few parents is mutated once, and the oldest of the population dies, however good it is.

Paper: Regularized Evolution for Image Classifier Architecture Search (2019, https://arxiv.org/abs/1802.01548), algorithm 1.

The sample is drawn with replacement, as in the algorithm's text. We differ: the paper's population of 100 with samples of 25 suits
20,000 trials; a few hundred are what a supernet is searched with, so the defaults are 20 and 5. A mutation changes one field that
matters, whatever the field; the paper's two kinds (an operation, an input) are fields of such a space. Failed trials are left out.
"""

from dataclasses import dataclass

from ..errors import BadParameter
from .sampler import Past, Sampler
from .space import Values


@dataclass(frozen=True)
class RegularisedEvolution(Sampler):
    """The population is the last `population` trials told; the child is one mutation of the best of `sample` draws from it.

    Args:
        population: how many trials live, and how many random ones come first.
        sample: draws from it, with replacement, for one parent: more of them, more greed.
        aging: the oldest dies. False lets the worst die instead: the paper's "non-aging" evolution.

    Raises:
        BadParameter: the population has fewer than 2 members, or the sample none.

    >>> from loomweight.search import Ordered, Space, Study
    >>> space = Space({f"width{i}": Ordered((8, 16, 32, 64)) for i in range(4)})
    >>> study = Study(space, sampler=RegularisedEvolution(population=10, sample=4)).run(lambda v: sum(v.values()), 80)
    >>> study.best.values
    (256.0,)
    """

    population: int = 20
    sample: int = 5
    aging: bool = True

    def __post_init__(self) -> None:
        if self.population < 2 or self.sample < 1:
            raise BadParameter(f"{self} needs a population of at least 2 and a sample of at least 1.")

    def propose(self, past: Past) -> Values:
        """A random configuration until the population is full, then a child."""
        known = past.finished
        if len(past.trials) < self.population or not known:
            return past.space.sample(past.draw)
        if not self.aging:
            known = sorted(known, key=past.score)
        alive = known[-self.population :]
        drawn = [alive[i] for i in past.draw.integers(len(alive), size=self.sample)]
        return past.space.mutate(max(drawn, key=past.score).parameters, past.draw)
