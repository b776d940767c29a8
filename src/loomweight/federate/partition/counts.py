"""How many of each class everybody has: what the table and the picture show."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...errors import BadParameter
from .partition import Parts


@dataclass(frozen=True)
class Counts:
    """Samples by client and class.

    Args:
        clients: names, in the order of the parts.
        classes: labels, ascending.
        table: samples of client i in class c.
    """

    clients: tuple[str, ...]
    classes: tuple[int, ...]
    table: NDArray[np.int64]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Samples of each client."""
        return self.table.sum(1)

    @property
    def shares(self) -> NDArray[np.float64]:
        """What part of a client's samples is in each class; zeros where it has none."""
        return self.table / np.maximum(self.sizes, 1)[:, None]

    def by_mixture(self) -> NDArray[np.int64]:
        """The clients ordered so that those with much of the same class are neighbours."""
        return np.lexsort((-self.shares.max(1), self.shares.argmax(1)))


def counts(parts: Parts, labels: Tensor) -> Counts:
    """How many samples of each class each client has.

    Raises:
        BadParameter: the labels are not one whole number for each sample, or an index is beyond them.

    >>> from loomweight.federate.partition import Shards
    >>> labels = torch.tensor([5, 7, 5, 7])
    >>> found = counts(Shards(1)(labels, clients=2, seed=0), labels)
    >>> found.classes, found.table.tolist()
    ((5, 7), [[2, 0], [0, 2]])
    """
    if labels.dim() != 1 or labels.is_floating_point():
        raise BadParameter(f"counting classes needs one whole number for each sample; found {labels.dtype} of shape {tuple(labels.shape)}.")
    beyond = [name for name, part in parts.items() if len(part) and int(part.max()) >= len(labels)]
    if beyond:
        raise BadParameter(f"{beyond[0]!r} has samples beyond the {len(labels)} labels: these are the labels of other data.")
    classes, places = np.unique(labels.numpy(), return_inverse=True)
    table = np.array([np.bincount(places[part.numpy()], minlength=len(classes)) for part in parts.values()], dtype=np.int64)
    return Counts(tuple(parts), tuple(classes.tolist()), table.reshape(len(parts), len(classes)))
