"""What training one child of a supernet does to the others.

Paper: Deeper Insights into Weight Sharing in Neural Architecture Search (2020, https://arxiv.org/abs/2001.01431), section 5: interference.
Original code: https://github.com/ultmaster/deeper-insights-weight-sharing. We differ: the paper follows accuracies while children are
trained in turn; ours takes one step of each child from the same weights and measures the loss of every other.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import BadParameter, NonFinite


def interference(model: nn.Module, losses: Mapping[str, Callable[[], Tensor]], rate: float) -> np.ndarray:
    """I[a, b] = loss of child a after one gradient step of child b, minus before. Positive: training b harms a.

    On the diagonal is what a step does for the child itself. The model's weights and buffers are put back after every step.

    Args:
        model: the supernet, whose parameters the children share.
        losses: by child, a function that selects it and gives its loss on a fixed batch.
        rate: of the step, plain gradient descent over all parameters that the loss reaches.

    Raises:
        BadParameter: no child, a rate that is not above 0, or a loss without a gradient.
        NonFinite: a loss is NaN or infinite.

    >>> shared = nn.Linear(1, 1, bias=False)
    >>> ones = torch.ones(1, 1)
    >>> found = interference(shared, {"up": lambda: (shared(ones) - 5).square().sum(), "down": lambda: (shared(ones) + 5).square().sum()}, 0.01)
    >>> bool(found[0, 0] < 0 < found[0, 1]), bool(found[1, 1] < 0 < found[1, 0])
    (True, True)
    """
    if not losses or not 0 < rate < float("inf"):
        raise BadParameter(f"at least one child and a rate above 0 are needed, found {len(losses)} and {rate}.")
    kept = {name: value.detach().clone() for name, value in [*model.named_parameters(), *model.named_buffers()]}
    try:
        before = _measured(model, losses, kept)
        columns = []
        for name, loss in losses.items():
            _put_back(model, kept)
            _step(model, name, loss, rate)
            stepped = {key: value.detach().clone() for key, value in [*model.named_parameters(), *model.named_buffers()]}
            columns.append(_measured(model, losses, stepped) - before)
        return np.stack(columns, axis=1)
    finally:
        _put_back(model, kept)


def _measured(model: nn.Module, losses: Mapping[str, Callable[[], Tensor]], state: Mapping[str, Tensor]) -> np.ndarray:
    """Every child's loss, each from the same weights and buffers."""
    found = []
    for name, loss in losses.items():
        _put_back(model, state)
        with torch.no_grad():
            found.append(float(loss()))
        if not np.isfinite(found[-1]):
            raise NonFinite(f"the loss of child {name!r} is {found[-1]}; take a smaller rate, or look at its weights.")
    return np.array(found)


def _step(model: nn.Module, name: str, loss: Callable[[], Tensor], rate: float) -> None:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    value = loss()
    if not value.requires_grad:
        raise BadParameter(f"the loss of child {name!r} has no gradient; it should be computed from the model's parameters, without no_grad.")
    gradients = torch.autograd.grad(value, parameters, allow_unused=True)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                parameter.sub_(rate * gradient)


def _put_back(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            value.copy_(state[name])
