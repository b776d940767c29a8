"""How much the loss of a batch depends on the presence of each weight.

Papers: SNIP: Single-shot Network Pruning based on Connection Sensitivity (2018, https://arxiv.org/abs/1810.02340), equation 6, summed over
all weights as a proxy by Zero-Cost Proxies for Lightweight NAS (2021, https://arxiv.org/abs/2101.08134), section 3.2.
Original code: https://github.com/SamsungLabs/zero-cost-nas (foresight/pruners/measures/snip.py). We differ: weights with two or more
axes are counted, whatever layer holds them.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .borrowed import Loss, borrowed


def snip(model: nn.Module, inputs: Any, targets: Tensor, loss: Loss = cross_entropy) -> float:
    """sum over weights w of |w dL / dw|, for the loss L of one batch; larger is taken for better.

    Args:
        model, inputs, targets, loss: as for `gradient_norm`.

    Raises:
        BadParameter, NonFinite: as for `gradient_norm`.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[1.0, -2.0]]))
    >>> snip(model, torch.tensor([[3.0, 4.0]]), torch.zeros(1, 1), lambda found, due: (found - due).sum())
    11.0
    """
    with borrowed(model, "snip") as loan:
        gradients = loan.gradients(inputs, targets, loss)
        return float(sum((loan.weights[name].detach() * gradient).double().abs().sum() for name, gradient in gradients.items()))
