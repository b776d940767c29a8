"""How far the gradients of single examples agree in sign.

Paper: GradSign: Model Performance Inference with Theoretical Insights (2021, https://arxiv.org/abs/2110.08616), algorithm 1.
Original code: https://github.com/cmu-catalyst/GradSign (zero-cost-nas-code/foresight/pruners/measures/grad_conflict.py). We differ:
weights with two or more axes are counted, whatever layer holds them, and a NaN is an error where the code leaves it out.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ...errors import BadParameter
from ...weights.axes.find import arguments
from .borrowed import Loss, borrowed


def grad_sign(model: nn.Module, inputs: Any, targets: Tensor, loss: Loss = cross_entropy) -> float:
    """sum over weights w of |sum over examples i of sign(dL_i / dw)|; larger is better. One backward pass for each example.

    Args:
        model, loss: as for `gradient_norm`. Batch normalization sees one example at a time, as in the authors' code.
        inputs, targets: a batch, examples along the first axis of every tensor.

    Raises:
        BadParameter: as for `gradient_norm`; the numbers of examples differ; the model needs more than one example at a time.
        NonFinite: as for `gradient_norm`.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> grad_sign(model, torch.tensor([[3.0, 4.0], [1.0, -1.0], [2.0, 0.0]]), torch.zeros(3, 1), lambda found, due: (found - due).sum())
    3.0
    """
    args, kwargs = arguments(inputs, None)
    sizes = {len(value) for value in (*args, *kwargs.values(), targets) if isinstance(value, Tensor) and value.ndim}
    if sizes != {len(targets)} or not len(targets):
        raise BadParameter(f"grad_sign: examples lie along the first axis of every tensor, so their numbers should agree; found {sorted(sizes)}.")
    with borrowed(model, "grad_sign") as loan:
        votes = {name: torch.zeros_like(value) for name, value in loan.matrices.items()}
        for example in range(len(targets)):
            one = {**dict(enumerate(args)), **kwargs}
            one = {key: value[example : example + 1] if isinstance(value, Tensor) and value.ndim else value for key, value in one.items()}
            given = {key: value for key, value in one.items() if isinstance(key, str)} or tuple(one.values())
            for name, gradient in loan.gradients(given, targets[example : example + 1], loss).items():
                votes[name] += gradient.sign()
        return float(sum(vote.double().abs().sum() for vote in votes.values()))
