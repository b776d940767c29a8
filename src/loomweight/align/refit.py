"""Refit one layer by least squares, so that it puts out what it should on given data.

Source: PLeaS -- Merging Models with Permutations and Least Squares (2024, https://arxiv.org/abs/2407.02447), section 4, equation 2, is
this for every layer of a merged network. Here the solution is closed, from sums over batches; PLeaS's code takes steps of Adam.
"""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BadParameter
from ..evidence.grams import Forward, run_model
from ..weights import Weights, from_module
from .least_squares import Normal, solved
from .passes import Data
from .patches import matrix, refuse_others, results, rows, weight_of
from .teacher import Wanted, module_of


def refit(
    model: nn.Module, layer: str, loader: Iterable[Any], wanted: Wanted, *, ridge: float = 1e-8, forward: Forward = run_model, progress: bool = True
) -> Weights:
    """The model's weights with one linear or convolutional layer fitted anew,

        W = argmin ||X W - Y||^2 + ridge mean(diag(X^T X)) ||W - W_0||^2,

    X the inputs that the layer gets in this model (patches, for a convolution), Y the wanted outputs, W_0 its weight. The bias is a row of
    W whose input is 1. Sums in float64, one pass.

    Args:
        model: runs in evaluation mode and is left as it was.
        layer: name of an nn.Linear, a convolution (not transposed) or a Transformers Conv1D.
        loader: gives batches.
        wanted: batch -> what the layer should put out; `outputs_of(teacher, layer)` is what another network's layer does.
        ridge: how much a weight of which the data says little stays what it was; 0 changes only what the data sees.
        forward: (model, batch) -> anything: how the model is run.
        progress: show a bar on stderr, if that is a terminal.

    Raises:
        UnknownName: no such module.
        BadParameter: it is no such layer, or did not run; wanted outputs of another shape; a negative ridge; no batch.
        NonFinite: inputs or wanted outputs hold NaN or Inf.

    >>> model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    >>> data = [torch.tensor([[0.0], [1.0]])]
    >>> fitted = refit(model, "1", data, lambda batch: 5 * model[0](batch) - 2, ridge=0)
    >>> fitted["1.weight"].round(decimals=3), fitted["1.bias"].round(decimals=3)
    (tensor([[5.]]), tensor([-2.]))
    """
    twin = copy.deepcopy(model).eval()
    module = module_of(twin, layer)
    refuse_others(module, layer)
    seen = _sums(twin, module, layer, Data(loader, forward, progress), wanted)
    put(module, solved(seen.gram, seen.cross, stacked(module), ridge))
    return from_module(twin)


def stacked(module: Any) -> Tensor:
    """Weight and bias as one matrix (groups, inputs, outputs), the bias its last row."""
    weight = matrix(module)
    return weight if module.bias is None else torch.cat([weight, module.bias.detach().reshape(len(weight), 1, -1)], 1)


def put(module: Any, found: Tensor) -> None:
    """Write such a matrix into a module of ours."""
    inputs = matrix(module).shape[1]
    with torch.no_grad():
        module.weight.copy_(weight_of(module, found[:, :inputs]))
        if module.bias is not None:
            module.bias.copy_(found[:, inputs].reshape(-1))


def _sums(twin: nn.Module, module: nn.Module, layer: str, data: Data, wanted: Wanted) -> Normal:
    groups, inputs, outputs = stacked(module).shape
    seen = Normal.empty(groups, inputs, outputs, next(module.parameters()).device)
    goals: list[Tensor] = []

    def run(model: nn.Module, batch: Any) -> None:
        goals[:] = [wanted(batch)]
        data_forward(model, batch)

    def see(name: str, given: Tensor, output: Tensor) -> None:
        if output.shape != goals[0].shape:
            raise BadParameter(f"the wanted outputs have shape {tuple(goals[0].shape)}, {layer!r} puts out {tuple(output.shape)}; give a value for each.")
        seen.add(rows(module, given), results(module, goals[0]))

    data_forward, data.forward = data.forward, run
    data.through(twin, {layer: module}, see, words=f"refit of {layer}")
    if not seen.rows:
        raise BadParameter(f"{layer!r} never ran on these batches; there is nothing to fit it to.")
    return seen.checked(layer)
