"""The size of the gradient before training.

Paper: Zero-Cost Proxies for Lightweight NAS (2021, https://arxiv.org/abs/2101.08134), section 3.2, grad_norm.
Original code: https://github.com/SamsungLabs/zero-cost-nas (foresight/pruners/measures/grad_norm.py). We differ: weights with two or
more axes are counted, whatever layer holds them; in networks of convolutions and linear layers these are the code's.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from .borrowed import Loss, borrowed


def gradient_norm(model: nn.Module, inputs: Any, targets: Tensor, loss: Loss = cross_entropy) -> float:
    """sum over weights W of |dL / dW|, for the loss L of one batch; larger is taken for better.

    Args:
        model: any module; it is left as it was. It runs in training mode, with dropout off.
        inputs: a batch: a tensor, a tuple of inputs, or a dict of keyword arguments.
        targets: as the loss wants them.
        loss: of outputs (logits, where the model gives a structure) and targets.

    Raises:
        BadParameter: the model does not run, or has no gradients (operations in place, outputs without a graph).
        NonFinite: the loss or a gradient is NaN or infinite.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> gradient_norm(model, torch.tensor([[3.0, 4.0]]), torch.zeros(1, 1), lambda found, due: (found - due).sum())
    5.0
    """
    with borrowed(model, "gradient_norm") as loan:
        return float(sum(gradient.double().norm() for gradient in loan.gradients(inputs, targets, loss).values()))
