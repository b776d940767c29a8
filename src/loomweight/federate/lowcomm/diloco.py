"""DiLoCo: many steps of AdamW apart, then one step of an outer optimizer along the average of how far all went.

Paper: DiLoCo: Distributed Low-Communication Training of Language Models (2023, https://arxiv.org/abs/2311.08105), algorithm 1.

Code read: PrimeIntellect-ai/OpenDiloco at commit a5b7236, train_diloco_torch.py; pytorch/torchft at release 0.2, local_sgd.py. We differ: any rule of
`loomweight.rules` may stand for the mean, so that a hostile or broken worker is borne; NaN is dropped, refused or masked as the call says, and a worker that
was left out gets the agreed weights by a copy and forgets momenta with NaN; floating buffers are averaged, where both forget them; a part of the model may have
its turn at another time than the others (fragments), without the overlap of computing and sending.
"""

from functools import partial
from typing import Any

import torch
from torch import nn

from ...rules import Rule
from .exchange import MEAN, PLAIN, Exchange, Pool
from .part import Outer
from .rounds import Rounds

NESTEROV: Outer = partial(torch.optim.SGD, lr=0.7, momentum=0.9, nesterov=True)


class DiLoCo(Rounds):
    """Delta = pooled_i(theta_old - theta_i) every so many steps of the inner optimizer; theta <- OuterOpt(theta_old, Delta) on every worker.

    All workers compute the outer step, from the same bits, so that it is not sent. BatchNorm's statistics are averaged without it.

    Args:
        model: what is trained; every worker begins with the first one's weights.
        inner: this worker's own optimizer; AdamW in the paper. Its state stays its own.
        every: H, inner steps between two synchronisations; 500 in the paper.
        group: a process group, None for the default one, or `Members`, which go on when one dies and let newcomers in.
        rule: n updates to one; the mean costs one sum, any other rule gathers all updates.
        outer: makes the outer optimizer of the agreed weights: SGD with Nesterov momentum, lr 0.7, momentum 0.9, as in the paper.
        exchange: NaN and Inf, this worker's weight, the form of messages, parts at staggered times.

    Raises:
        BadParameter: a number out of range, no group, or workers that hold different models.

    >>> from torch.distributed import HashStore, ProcessGroupGloo
    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = model.weight.data.fill_(1.0)
    >>> inner = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> diloco = DiLoCo(model, inner, every=1, group=ProcessGroupGloo(HashStore(), 0, 1))
    >>> _ = model.weight.data.fill_(0.0)  # went 1; the first outer step is 0.7 (1 + 0.9) as long
    >>> diloco.step(), round(model.weight.item(), 4)
    (True, -0.33)
    """

    def __init__(
        self,
        model: nn.Module,
        inner: torch.optim.Optimizer,
        every: int,
        group: Any = None,
        rule: Rule = MEAN,
        outer: Outer = NESTEROV,
        exchange: Exchange = PLAIN,
    ) -> None:
        super().__init__(model, inner, group, Pool(rule, exchange), every, outer)
