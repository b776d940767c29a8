"""A vector averaged in parts: each part is sent to one process, reduced there, and sent back.

Paper: Distributed Deep Learning in Open Collaborations (2021, https://arxiv.org/abs/2106.10207), section 3.2.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import BadParameter
from .bandwidth_shares import Shares
from .line import Line

#: replaces a flat tensor by the sum of all, with the same bits in every process that contributes
Reduce = Callable[[Line, Tensor], None]


@dataclass(frozen=True)
class InParts:
    """A sum over processes in which process j reduces share j of the vector.

    Part of: bandwidth_shares.

    Args:
        shares: of `bandwidth_shares()`, in the order of ranks.
        contributes: as given there; who does not gets no result, its tensor stays as it is.

    >>> from torch.distributed import HashStore, ProcessGroupGloo
    >>> from loomweight.federate.lowcomm.line import Traffic
    >>> line = Line(ProcessGroupGloo(HashStore(), 0, 1), ("alone",), Traffic())
    >>> x = torch.tensor([1.0, 2.0])
    >>> InParts(Shares((1.0,), 1.0))(line, x)
    >>> x
    tensor([1., 2.])
    """

    shares: Shares
    contributes: Sequence[bool] | None = None

    def __call__(self, line: Line, flat: Tensor) -> None:
        """Replace `flat` by the sum of all that contribute.

        Raises:
            BadParameter: the shares are for another number of processes.
        """
        if len(self.shares.shares) != line.world:
            raise BadParameter(f"the shares are for {len(self.shares.shares)} processes, the group has {line.world}.")
        given = [True] * line.world if self.contributes is None else list(self.contributes)
        sizes = self.shares.sizes(flat.numel())
        mine, mine_given = sizes[line.rank], given[line.rank]
        pieces = list(flat.split(sizes)) if mine_given else [flat[:0]] * line.world
        came = line.exchange(pieces, [mine if gives else 0 for gives in given])
        total = torch.stack([piece for piece, gives in zip(came, given, strict=True) if gives]).sum(0)
        back = line.exchange([total if gives else total[:0] for gives in given], sizes if mine_given else [0] * line.world)
        if mine_given:
            flat.copy_(torch.cat(back))
