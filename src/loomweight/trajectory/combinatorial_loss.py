"""The loss with which combinations are trained: right, and of one mind.

Paper: Deep Combinatorial Aggregation (2022, https://arxiv.org/abs/2210.06436), the consistency enforcing loss.
Original code: tum-vision/dca at commit 8319185, experiments/cifar10/train_dca.py, do_trainbatch.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div

from ..errors import BadParameter
from .combinatorial import DCA


def combinatorial_loss(dca: DCA, inputs: Any, labels: Tensor, repeats: int = 5, consistency: float = 1.0) -> Tensor:
    """mean over r = 1..R of cross_entropy(z_r, y) + consistency KL(softmax(z_{r-1}) || softmax(z_r)), each z_r of a combination of its own.

    What comes before is fixed: no gradient passes through z_{r-1}, and z_0 is of a combination that is not trained.

    Part of: dca.

    Args:
        dca: gives logits, of shape (batch, classes).
        inputs: of the model.
        labels: classes, of shape (batch,).
        repeats: R, how many combinations share a batch; the authors take the number of instances.
        consistency: weight of the second term; 0 leaves it out.

    Raises:
        BadParameter: repeats below 1, or a negative weight.

    >>> dca = DCA(torch.nn.Linear(4, 3), instances=2)
    >>> loss = combinatorial_loss(dca, torch.randn(8, 4), torch.randint(3, (8,)), repeats=2)
    >>> loss.backward()
    """
    if repeats < 1 or not consistency >= 0:
        raise BadParameter(f"repeats is at least 1 and the weight of consistency at least 0, found {repeats} and {consistency}.")
    total = torch.zeros((), device=labels.device)
    with torch.no_grad():
        before = dca(inputs).log_softmax(-1) if consistency else None
    for _ in range(repeats):
        logits = dca(inputs)
        total = total + cross_entropy(logits, labels) / repeats
        if before is not None:
            now = logits.log_softmax(-1)
            total = total + consistency / repeats * kl_div(now, before, reduction="batchmean", log_target=True)
            before = now.detach()
    return total
