"""What modules put out on a few batches."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from ..engines.progress import track
from ..errors import BadParameter, NonFinite
from ..weights import Weights
from . import batches
from .grams import Forward, run_model
from .hooks import watched
from .linear import chosen
from .untouched import untouched


def activations(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    modules: str,
    first: int = 4,
    forward: Forward = run_model,
    progress: bool = True,
) -> Weights:
    """Outputs of modules on the loader's first batches, examples along the first axis, for comparing and aligning models.

    Args:
        model: is used in evaluation mode and left as it was.
        loader: gives batches.
        modules: a pattern of module names. All outputs are kept in memory: match few modules.
        first: how many batches.
        forward: (model, batch) -> anything: how the model is run.
        progress: show a bar on stderr, if that is a terminal.

    Returns:
        A tensor (examples, ...) for every module, under its name, on the CPU. Of a tuple the first tensor counts, which is the
        hidden states in Transformers' blocks.

    Raises:
        UnknownName: no module matches.
        BadParameter: no batch; a module puts out no tensor, did not run once in every batch, or its shapes differ.
        NonFinite: an output holds NaN or Inf; the message names the module and the batch.

    >>> model = nn.Sequential(nn.Flatten(), nn.ReLU())
    >>> activations(model, [torch.tensor([[[-1.0], [2.0]]])], modules="1")["1"]
    tensor([[0., 2.]])
    """
    kept: dict[str, list[Tensor]] = {name: [] for name in chosen(model, modules)}
    count = 0
    with torch.no_grad(), untouched(model):
        device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        for batch in track(islice(loader, first), "activations", total=first, show=progress):
            for name, output in _outputs(model, batches.to_device(batch, device), forward, chosen(model, modules), count).items():
                kept[name].append(output)
            count += 1
    if not count:
        raise BadParameter("the loader gave no batch; evidence needs at least one.")
    return Weights.of({name: _joined(name, parts) for name, parts in kept.items()}, f"activations of {type(model).__name__}, {count} batches")


def _outputs(model: nn.Module, batch: Any, forward: Forward, modules: Mapping[str, nn.Module], number: int) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}

    def watch(name: str, inputs: Any, output: Any) -> None:
        tensors = batches.tensors(output)
        if not tensors or name in found:
            problem = "runs more than once a batch" if name in found else f"puts out a {type(output).__name__} without a tensor"
            raise BadParameter(f"module {name!r} {problem}, so its output is not one tensor; leave it out of the pattern.")
        if tensors[0].is_floating_point() and not torch.isfinite(tensors[0]).all():
            raise NonFinite(f"the output of {name!r} holds NaN or Inf in batch {number}; look at that batch and at the model's dtype.")
        found[name] = tensors[0].detach().cpu().clone()

    with watched(modules, watch):
        forward(model, batch)
    if missing := modules.keys() - found.keys():
        raise BadParameter(f"module {min(missing)!r} did not run in batch {number}; leave it out of the pattern.")
    return found


def _joined(name: str, parts: list[Tensor]) -> Tensor:
    shapes = {part.shape[1:] for part in parts}
    if len(shapes) > 1 or not parts[0].ndim:
        raise BadParameter(f"module {name!r} puts out different shapes, {sorted(tuple(part.shape) for part in parts)}; pad the batches to one length.")
    return torch.cat(parts)
