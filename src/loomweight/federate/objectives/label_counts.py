"""How many examples of each label a client has: for aggregates that ask."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ...errors import BadParameter
from ..plain import Tensors
from .term import Term

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class LabelCounts(Term):
    """The client sends its counts, and changes nothing in its training. They tell the server what its data are like.

    Args:
        classes: how many labels there are.

    >>> LabelCounts(10).key
    'LabelCounts'
    """

    classes: int

    def finish(self, work: "Work") -> Tensors:
        """The counts.

        Raises:
            BadParameter: a label beyond the classes.
        """
        labels = work.data[-1].flatten()
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < self.classes:
            raise BadParameter(f"LabelCounts: client {work.task.client!r} has labels up to {int(labels.max())} or negative ones; there are {self.classes}.")
        return {"counts": torch.bincount(labels, minlength=self.classes)}
