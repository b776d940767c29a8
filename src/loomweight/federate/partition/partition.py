"""What every partition promises, and how it is kept: names, seeds, and that each sample has exactly one owner."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from ...errors import BadParameter

Data = tuple[Tensor, Tensor]
Parts = dict[str, Tensor]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Partition(ABC):
    """Who gets which samples: `partition(labels, clients, seed) -> {client's name: indices, ascending}`.

    Every sample goes to exactly one client, and the same seed gives the same parts, whatever else draws random numbers in the process.
    """

    def __call__(self, labels: Tensor | Data, clients: int | None = None, seed: int = 0) -> Parts:
        """The indices of each client's samples.

        Args:
            labels: one for each sample; or the data, (inputs, labels).
            clients: how many; only `Natural` knows it by itself.
            seed: 0 or more.

        Raises:
            BadParameter: there are fewer samples than clients, or this partition is not possible.
        """
        targets = (labels if isinstance(labels, Tensor) else labels[1]).detach().cpu()
        if not targets.dim():
            raise BadParameter(f"{self} needs labels of shape (samples, ...), found a single number.")
        count = self.number(clients, len(targets))
        parts = [np.sort(part) for part in self.assign(targets, count, _draws(seed, count))]
        return {name: torch.from_numpy(part) for name, part in zip(self.names(parts), parts, strict=True)}

    def number(self, clients: int | None, samples: int) -> int:
        """How many clients there will be.

        Raises:
            BadParameter: not said, below 1, or more than there are samples.
        """
        if clients is None or not 1 <= clients <= samples:
            raise BadParameter(f"{self} needs a number of clients from 1 to {samples}, the number of samples; found {clients}.")
        return clients

    def names(self, parts: Sequence[Indices]) -> list[str]:
        """A name for each client; sorted as words they are in order."""
        return numbered("client", range(len(parts)))

    @abstractmethod
    def assign(self, labels: Tensor, clients: int, draw: Generator) -> Sequence[Indices]:
        """The indices of each client's samples, in any order."""

    def inputs(self, x: Tensor, client: int, clients: int, seed: int) -> Tensor:
        """What the client sees of its inputs: as they are, but for `FeatureShift`."""
        return x


def numbered(kind: str, numbers: Sequence[int]) -> list[str]:
    """Names whose order as words is that of the numbers.

    >>> numbered("client", [7, 1000])
    ['client 0007', 'client 1000']
    """
    width = len(str(max(numbers, default=0)))
    return [f"{kind} {number:0{width}d}" for number in numbers]


def classes_of(partition: Partition, labels: Tensor) -> list[Indices]:
    """The indices of each class, ascending; classes in the order of their labels.

    Raises:
        BadParameter: there is not one whole number for each sample.
    """
    if labels.dim() != 1 or labels.is_floating_point() or labels.is_complex():
        raise BadParameter(f"{partition} needs one whole number for each sample as its label; found {labels.dtype} of shape {tuple(labels.shape)}.")
    order = np.argsort(found := labels.numpy(), kind="stable")
    return np.split(order, np.flatnonzero(np.diff(found[order])) + 1)


def cut(items: Indices, shares: NDArray[np.float64]) -> list[Indices]:
    """The items in order, cut so that each piece has its share, to the nearest whole item.

    >>> [len(piece) for piece in cut(np.arange(10), np.array([0.25, 0.25, 0.5]))]
    [2, 3, 5]
    """
    ends = np.rint(np.cumsum(shares)[:-1] / shares.sum() * len(items)).astype(np.int64)
    return np.split(items, ends)


def _draws(seed: int, clients: int) -> Generator:
    if seed < 0:
        raise BadParameter(f"a seed is 0 or more, found {seed}.")
    return np.random.default_rng((seed, clients))
