"""Input Gram matrices of linear layers, what RegMean needs to know of the data.

Paper: Dataless Knowledge Fusion by Merging Weights of Language Models (2022, https://arxiv.org/abs/2212.09849), section 3.1:
G = X^T X, where X has a row for every input of the layer. Original code: https://github.com/bloomberg/dataless-model-merging
(src/model_merge/local_trainer.py, compute_grams). It divides by the number of rows, so that every model counts alike however
much data it saw: normalize=True; the paper's formula is a sum. We differ in two ways. It counts padding as data; we leave out
rows whose `attention_mask` is 0, so that the result does not depend on how batches are padded. It sums in the model's
precision; we in float64, because rounding puts noise where the matrix has no rank, and the inverse makes it large.
"""

import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import BadParameter, NonFinite
from ..weights import Weights
from ..weights.names import listed
from . import batches
from .collect import Run, collect
from .fold import Fold, State
from .hooks import watched
from .linear import chosen, input_axis, matrix_of

Forward = Callable[[nn.Module, Any], Any]
_ROWS = 4096


def run_model(model: nn.Module, batch: Any) -> Any:
    """Call the model on a batch, without its labels; see `batches.forward`."""
    return batches.forward(batch, model)


def input_grams(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    modules: str = "*",
    forward: Forward = run_model,
    normalize: bool = False,
    samples: int | None = None,
    run: Run | None = None,
) -> Weights:
    """X^T X of the inputs of every nn.Linear and Transformers Conv1D, over all examples and positions.

    Padding (positions whose `attention_mask` is 0) is left out where a layer sees the batch's positions. Layers that share a
    weight share one matrix, the sum over their inputs, under all names of that weight.

    Args:
        model: is used in evaluation mode and left as it was.
        loader: gives batches; the first axis of every tensor in them is the examples. Labels are not needed.
        modules: a pattern of module names.
        forward: (model, batch) -> anything: how the model is run.
        normalize: divide every matrix by its number of rows.
        samples: stop after so many examples.
        run: progress bar and checkpoints.

    Returns:
        A matrix (in, in) in float64 for every covered weight, named as the weight is; its names tell what is covered, its label
        how many rows X has. `input_axes` tells on which side of the weight it belongs.

    Raises:
        UnknownName: no module matches.
        BadParameter: a matching module has a weight of another kind (a convolution, an embedding), or was never run; with the
            default pattern such modules are no error, and those never run are named in a warning.
        NonFinite: an input holds NaN or Inf; the message names the module and the batch.

    >>> model = nn.Sequential(nn.Linear(2, 1))
    >>> input_grams(model, [torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 0.0]])])["0.weight"]
    tensor([[10.,  2.],
            [ 2.,  4.]], dtype=torch.float64)
    """
    return collect(InputGrams(model, modules, forward, normalize), loader, run or Run(), samples)


@dataclass(frozen=True)
class InputGrams(Fold):
    """Sums of X^T X, in float64, and of rows, under the covered module's name."""

    modules: str
    forward: Forward
    normalize: bool
    words: ClassVar[str] = "input Gram matrices"

    @cached_property
    def covered(self) -> Mapping[str, nn.Module]:
        """The linear modules that match."""
        found = chosen(self.model, self.modules)
        linear = {name: module for name, module in found.items() if input_axis(module) is not None}
        others = [f"{name} ({type(module).__name__})" for name, module in found.items() if name not in linear and matrix_of(module) is not None]
        if others and self.modules != "*":
            raise BadParameter(f"input Gram matrices are for linear layers only, {self.modules!r} also matches {listed(others)}; narrow the pattern.")
        if computed := [name for name, module in linear.items() if matrix_of(module) is None]:
            raise BadParameter(f"the weight of {listed(computed)} is computed from other tensors; fold it into a plain one first.")
        if not linear:
            raise BadParameter(f"no module that matches {self.modules!r} is linear; found {listed(name or 'the model' for name in found)}.")
        return linear

    def start(self) -> State:
        """Zeros."""
        sums: dict[str, Tensor] = {}
        for name, module in self.covered.items():
            weight = matrix_of(module)
            size = weight.shape[input_axis(module)]
            sums[f"gram {name}"] = torch.zeros(size, size, dtype=torch.float64, device=weight.device)
            sums[f"rows {name}"] = torch.zeros((), dtype=torch.int64)
        return State(sums)

    def add(self, state: State, batch: Any) -> State:
        """Run the model on a batch and watch the inputs."""
        mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None

        def watch(name: str, inputs: Tensor, output: Any) -> None:
            rows = inputs.detach()
            rows = rows[mask != 0] if mask is not None and rows.shape[:-1] == mask.shape else rows.reshape(-1, rows.shape[-1])
            _added(state.sums[f"gram {name}"], rows)
            state.sums[f"rows {name}"] += len(rows)

        with torch.no_grad(), watched(self.covered, watch):
            self.forward(self.model, batch)
        for name in self.covered:
            if not torch.isfinite(state.sums[f"gram {name}"].diagonal().sum()):
                raise NonFinite(f"the input of {name!r} holds NaN or Inf in batch {state.batches}; look at that batch and at the model's dtype.")
        return state

    def value(self, state: State) -> Weights:
        """The sums under the names of the weights."""
        seen = {name: module for name, module in self.covered.items() if int(state.sums[f"rows {name}"])}
        self._complain([name for name in self.covered if name not in seen])
        total: dict[int, Tensor] = {}
        rows: dict[int, int] = {}
        for name, module in seen.items():
            key, count = id(matrix_of(module)), int(state.sums[f"rows {name}"])
            total[key] = total.get(key, 0) + state.sums[f"gram {name}"].cpu()
            rows[key] = rows.get(key, 0) + count
        if self.normalize:
            total = {key: matrix / rows[key] for key, matrix in total.items()}
        every = self.model.named_parameters(remove_duplicate=False)
        words = f"input Gram matrices of {len(seen)} modules of {type(self.model).__name__}, {_between(rows.values())} rows"
        return Weights.of({name: total[id(parameter)] for name, parameter in every if id(parameter) in total}, words)

    def _complain(self, unseen: list[str]) -> None:
        if len(unseen) == len(self.covered) or (unseen and self.modules != "*"):
            raise BadParameter(f"{listed(unseen)} never ran on these batches, so there is no Gram matrix; leave them out of the pattern.")
        if unseen:
            warnings.warn(f"no input Gram matrix for {listed(unseen)}: never run as modules on these batches.", stacklevel=2)


def _added(total: Tensor, rows: Tensor) -> None:
    """total += rows^T rows, in float64, a few rows at a time."""
    for some in rows.split(_ROWS):
        wide = some.to(total.dtype)
        total.addmm_(wide.T, wide)


def _between(counts: Collection[int]) -> str:
    least, most = min(counts), max(counts)
    return str(least) if least == most else f"{least} to {most}"
