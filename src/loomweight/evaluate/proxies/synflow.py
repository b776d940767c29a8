"""How much flows through a network of positive weights.

Papers: Pruning neural networks without any data by iteratively conserving synaptic flow (2020, https://arxiv.org/abs/2006.05467), equation 2,
summed over all weights as a proxy by Zero-Cost Proxies for Lightweight NAS (2021, https://arxiv.org/abs/2101.08134), section 3.2.
Original code: https://github.com/SamsungLabs/zero-cost-nas (foresight/pruners/measures/synflow.py). We differ: the logarithm is given,
since the sum exceeds float32 in deep networks; layer, group and instance norms are left out as batch normalization is; weights with two
or more axes are counted, whatever layer holds them.
"""

from math import log
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import BadParameter, NonFinite
from ...weights.axes.find import arguments
from .borrowed import borrowed, without_norms


def synflow(model: nn.Module, inputs: Any) -> float:
    """log sum over weights w of w dR / dw, where R is the sum of outputs on an input of ones, with |w| for every parameter, in float64.

    Normalizations pass their input on. No data are used. Larger is taken for better; -inf where no weight reaches an output.

    Args:
        model: any module of floating inputs; it is left as it was.
        inputs: as for `gradient_norm`; only their shapes matter, and one example of each is used.

    Raises:
        BadParameter: the model does not run in float64, or an input is not floating (embed tokens first).
        NonFinite: the flow exceeds float64.

    >>> model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.ReLU(), nn.Linear(1, 1, bias=False))
    >>> _ = model[0].weight.data.copy_(torch.tensor([[1.0, -2.0]])), model[2].weight.data.fill_(-3.0)
    >>> round(float(torch.tensor(synflow(model, torch.zeros(4, 2))).exp()), 4)      # 9 in each of two layers
    18.0
    """
    args, kwargs = arguments(inputs, None)
    ones = tuple(_ones(value) for value in args), {name: _ones(value) for name, value in kwargs.items()}
    with borrowed(model, "synflow") as loan, without_norms(model), torch.enable_grad():
        loan.double()
        loan.weights.update({name: value.abs() for name, value in loan.weights.items() if value.is_floating_point()})
        matrices = {name: value.requires_grad_() for name, value in loan.matrices.items()}
        try:
            flow = loan.run(ones[0] or ones[1]).sum()
            found = torch.autograd.grad(flow, list(matrices.values()), allow_unused=True, materialize_grads=True)
        except RuntimeError as error:
            raise loan.refusal("has no gradients", error) from error
    total = float(sum((weight * gradient).detach().abs().sum() for weight, gradient in zip(matrices.values(), found, strict=True)))
    if not total < float("inf"):
        raise NonFinite(f"synflow: the flow through {type(model).__name__} is {total}, beyond float64; scale its weights down.")
    return log(total) if total else float("-inf")


def _ones(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    if not value.is_floating_point():
        raise BadParameter(f"synflow: an input of ones is put in, so inputs are floating; found {value.dtype}. Give the model embeddings.")
    return torch.ones_like(value[:1], dtype=torch.float64)
