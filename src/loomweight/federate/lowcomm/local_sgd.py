"""Local SGD: workers average their weights every so many steps.

Paper: Local SGD Converges Fast and Communicates Little (2018, https://arxiv.org/abs/1805.09767), algorithm 1.

Code read: pytorch/torchft at release 0.2, local_sgd.py. We differ: any rule of `loomweight.rules` may stand for the mean, of the differences from the last
agreed weights; floating buffers are averaged and NaN is dropped, refused or masked, where theirs forgets the former and spreads the latter; a worker that was
left out gets the agreed weights by a copy.
"""

from typing import Any

import torch
from torch import nn

from ...rules import Rule
from .exchange import MEAN, PLAIN, Exchange, Pool
from .rounds import Rounds


class LocalSGD(Rounds):
    """theta <- theta_old - pooled(theta_old - theta_i) every so many steps; with the mean, theta <- mean_i theta_i.

    Args:
        model: what is trained; every worker begins with the first one's weights.
        optimizer: this worker's own; its momenta stay its own.
        every: steps between two synchronisations.
        group: a process group, None for the default one, or `Members`, which go on when one dies and let newcomers in.
        rule: n updates to one; the mean costs one sum, any other rule gathers all updates.
        exchange: NaN and Inf, this worker's weight, the form of messages, parts at staggered times.

    Raises:
        BadParameter: a number out of range, no group, or workers that hold different models.

    >>> from torch.distributed import HashStore, ProcessGroupGloo
    >>> model = nn.Linear(2, 1)
    >>> sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> local = LocalSGD(model, sgd, every=2, group=ProcessGroupGloo(HashStore(), 0, 1))
    >>> [local.step() for _ in range(4)]
    [False, True, False, True]
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, every: int, group: Any = None, rule: Rule = MEAN, exchange: Exchange = PLAIN
    ) -> None:
        super().__init__(model, optimizer, group, Pool(rule, exchange), every, None)
