"""Renew what batch normalization remembers of the data: an average of weights has statistics that no average of statistics gives.

Paper: Averaging Weights Leads to Wider Optima and Better Generalization (2018, https://arxiv.org/abs/1803.05407), section 3.2, runs
the data once through the averaged network. Original code: torch.optim.swa_utils.update_bn, which averages the variances of the
batches; we pool them (Chan's formula, float64), so that the result is the variance of all data, however it is cut into batches.
"""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BadParameter
from ..evidence.grams import Forward, run_model
from ..weights import Weights, from_module
from .moments import Moments, is_norm
from .passes import Data


def renew_batch_norm(model: nn.Module, loader: Iterable[Any], *, layer_by_layer: bool = False, forward: Forward = run_model, progress: bool = True) -> Weights:
    """The model's weights with the means and variances of its batch normalizations computed anew, over all given data,

        mean = sum x / n,    variance = sum (x - mean)^2 / (n - 1).

    In one pass every layer is fed by layers that normalize each batch by its own statistics, as in training. `layer_by_layer` takes a
    pass for every normalization, and each is fed by layers that are already renewed, as in use: then its outputs have exactly
    the mean and the spread that its bias and weight say, over this data.

    Args:
        model: is left as it was. All else runs in evaluation mode (no dropout).
        loader: gives batches, the same ones every time; labels are not needed. One pass wants batches of a good size.
        layer_by_layer: as above.
        forward: (model, batch) -> anything: how the model is run.
        progress: show a bar on stderr, if that is a terminal.

    Raises:
        BadParameter: no batch normalization with statistics; no batch; fewer than two values per channel.
        NonFinite: what runs into a normalization holds NaN or Inf.

    >>> model = nn.Sequential(nn.BatchNorm1d(1))
    >>> renewed = renew_batch_norm(model, [torch.tensor([[1.0], [2.0]]), torch.tensor([[6.0]])])
    >>> renewed["0.running_mean"], renewed["0.running_var"]
    (tensor([3.]), tensor([7.]))
    """
    twin = copy.deepcopy(model).eval()
    norms = batch_norms(twin)
    if not norms:
        raise BadParameter(f"{type(model).__name__} has no batch normalization that keeps statistics; there is nothing to renew.")
    data = Data(loader, forward, progress)
    found = _in_one_pass(twin, norms, data)
    for name in found:
        alone = data.moments(twin, norms, lambda _, given, output: Moments.of(given, 1), name) if layer_by_layer else found
        remember(norms[name], alone[name].checked(name))
    return from_module(twin)


def batch_norms(model: nn.Module) -> dict[str, nn.Module]:
    """Every batch normalization that keeps statistics."""
    every = {name: module for name, module in model.named_modules() if is_norm(module)}
    return {name: module for name, module in every.items() if module.running_mean is not None}


def remember(norm: nn.Module, moments: Moments) -> None:
    """Write statistics into a normalization."""
    norm.running_mean.copy_(moments.mean)  # type: ignore[operator, union-attr]
    norm.running_var.copy_(moments.unbiased)  # type: ignore[operator, union-attr]


def spread(values: Tensor, moments: Moments, scale: Tensor, shift: Tensor) -> Tensor:
    """(values - mean) scale + shift, channels along axis 1."""
    shape = [1, -1, *[1] * (values.ndim - 2)]
    return (values - moments.mean.reshape(shape)).mul(scale.reshape(shape)).add(shift.reshape(shape)).to(values.dtype)


def _in_one_pass(twin: nn.Module, norms: dict[str, nn.Module], data: Data) -> dict[str, Moments]:
    found: dict[str, Moments] = {}

    def see(name: str, given: Tensor, output: Tensor) -> Tensor:
        now = Moments.of(given, 1)
        found[name] = found[name].plus(now) if name in found else now
        norm: Any = norms[name]
        one = torch.ones_like(now.mean)
        gain = (one if norm.weight is None else norm.weight) / (now.squares / now.count + norm.eps).sqrt()
        return spread(given, now, gain, one * 0 if norm.bias is None else norm.bias)

    data.through(twin, norms, see, words="statistics")
    return found
