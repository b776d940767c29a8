"""Clients whose mixtures of classes are drawn from a Dirichlet distribution.

Papers: Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification (2019, https://arxiv.org/abs/1909.06335),
section 3: each client draws its mixture q ~ Dir(alpha p), where p is how frequent the classes are, then its samples, without replacement, and all
clients have equally many (`equal=True`); Federated Learning on Non-IID Data Silos: An Experimental Study (2021, https://arxiv.org/abs/2102.02079),
section IV-A: each class draws how it is divided among the clients, Dir(alpha) (`equal=False`). Both are called Dirichlet(alpha) in tables; the
second also makes sizes unequal, and is what most benchmarks run. Code read: Xtra-Computing/NIID-Bench, utils.py. We differ: it draws until each
client has 10 samples, without end where that hardly happens, and gives nothing more to clients that have their fair share, which is not in the
paper; here the draws are counted, and the classes are independent.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from ...errors import BadParameter
from .drawn import large_enough
from .partition import Indices, Partition, classes_of, cut


@dataclass(frozen=True)
class Dirichlet(Partition):
    """The smaller `alpha`, the fewer classes a client has.

    equal=False:  shares of class c  ~  Dir(alpha, ..., alpha), one for each client; sizes differ
    equal=True:   q of client i      ~  Dir(alpha p_1, ..., alpha p_C); its n / clients samples are drawn from q, without replacement.
                  A class that is used up is drawn no more; where only such are left in q, the client takes from what remains, as frequent as it is

    Args:
        alpha: above 0; small for few classes a client. With `equal` it is the concentration of a client's whole mixture, without it that of every
            share, so the same number is more skewed with it: of C classes, alpha = C a there is about as skewed as a here.
        smallest: the samples that every client has at least. Unequal sizes are drawn up to 100 times until it is so.
        equal: sizes differ by at most one.

    Raises:
        BadParameter: `alpha` or `smallest` is out of range; or no draw gave everybody `smallest` samples, and the message says what was reached.

    >>> labels = torch.arange(10).repeat(100)
    >>> [len(part) for part in Dirichlet(0.1)(labels, clients=5, seed=0).values()]
    [150, 233, 271, 101, 245]
    >>> [len(labels[part].unique()) for part in Dirichlet(0.1, equal=True)(labels, clients=5, seed=0).values()]
    [2, 2, 2, 2, 2]
    """

    alpha: float = 0.5
    smallest: int = 1
    equal: bool = False

    def __post_init__(self) -> None:
        if not 1e-6 <= self.alpha <= 1e9 or self.smallest < 0:
            raise BadParameter(f"{self}: alpha lies between 1e-6 and 1e9, and smallest is 0 or more.")

    def assign(self, labels: Tensor, clients: int, draw: Generator) -> Sequence[Indices]:
        """The indices of each client's samples, in any order."""
        classes = classes_of(self, labels)
        if self.equal:
            remedy = f"Equal parts have {len(labels) // clients}: ask for no more."
            return large_enough(self, self.smallest, lambda: self._by_client(classes, clients, draw), remedy)
        remedy = "Take fewer clients, a larger alpha or a lower `smallest`; equal=True gives all the same number."
        return large_enough(self, self.smallest, lambda: self._by_class(classes, clients, draw), remedy)

    def _by_class(self, classes: list[Indices], clients: int, draw: Generator) -> Sequence[Indices]:
        pieces = [cut(draw.permutation(members), draw.dirichlet(np.full(clients, self.alpha))) for members in classes]
        return [np.concatenate(own) for own in zip(*pieces, strict=True)]

    def _by_client(self, classes: list[Indices], clients: int, draw: Generator) -> Sequence[Indices]:
        decks = [draw.permutation(members) for members in classes]
        left = np.array([len(deck) for deck in decks])
        prior = left / left.sum()
        parts = []
        for size in (len(part) for part in np.array_split(np.empty(left.sum()), clients)):
            taken = drawn_from(draw.dirichlet(self.alpha * prior), left, size, draw)
            parts.append(np.concatenate([deck[have - count : have] for deck, have, count in zip(decks, left, taken, strict=True)]))
            left = left - taken
        return parts


def drawn_from(mixture: NDArray[np.float64], left: Indices, size: int, draw: Generator) -> Indices:
    """How many of each class `size` draws give, one after the other, none from a class that is used up.

    Draws of a used-up class are thrown away and made again, which has the same distribution as leaving that class out from then on.
    """
    taken = np.zeros_like(left)
    while missing := size - int(taken.sum()):
        open_ = np.where(left > taken, mixture, 0.0)
        open_ = open_ if open_.sum() > 0 else (left - taken).astype(np.float64)
        taken = np.minimum(left, taken + draw.multinomial(missing, open_ / open_.sum()))
    return taken
