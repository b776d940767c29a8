"""How far the activations of the units of two networks are from one another.

Paper: Model Fusion via Optimal Transport (2019, https://arxiv.org/abs/1910.05653), section 4, activation-based alignment.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BadParameter
from ..evidence import batches
from ..evidence.grams import Forward, run_model
from ..evidence.hooks import watched
from ..evidence.untouched import untouched
from ..weights.axes.table import Axes, Term
from .making_rows import squared_distances

_UNITS_FIRST = ("_ConvNd", "_NormBase", "GroupNorm")


@dataclass(frozen=True)
class Network:
    """A model and its table."""

    axes: Axes
    model: nn.Module


@dataclass(frozen=True)
class Output:
    """Where the units of a space are in what a module puts out."""

    space: str
    module: str
    axis: int
    begin: int
    term: Term


def activation_costs(moving: Network, reference: Network, loader: Iterable[Any], *, first: int = 4, forward: Forward = run_model) -> Mapping[str, Tensor]:
    """Squared distances of the activations of units, for `ot_fusion(..., costs=...)`.

    d(i, j)^2 = sum over examples and positions of (a_i - b_j)^2

    a_i and b_j are what the modules put out whose weights make the units, before the nonlinearity; where a norm has parameters for
    the units, what it puts out. Both models see the same batches, summed one by one.

    Part of: ot_fusion.

    Args:
        moving: table and model that is carried; `Network(axes, model)`.
        reference: table and model that stays.
        loader: gives batches.
        first: how many of them.
        forward: (model, batch) -> anything: how a model is run.

    Returns:
        Space -> (parents, units, parents, units). Spaces whose units no module puts out (inside `nn.MultiheadAttention`, lower
        layers of an LSTM) are not there: their weights count.

    Raises:
        BadParameter: no batch, or the models put out different numbers of examples or positions.

    >>> from loomweight.weights.axes import axes
    >>> a, b = (torch.nn.Sequential(torch.nn.Linear(4, n), torch.nn.ReLU(), torch.nn.Linear(n, 2)) for n in (8, 5))
    >>> x = torch.ones(3, 4)
    >>> activation_costs(Network(axes(a, x), a), Network(axes(b, x), b), [x])["layer.0"].shape
    torch.Size([1, 8, 1, 5])
    """
    here, there = ({(o.space, o.module): o for o in _outputs(side.axes, dict(side.model.named_modules()))} for side in (moving, reference))
    both = [key for key in here if key in there]
    total: dict[str, Tensor] = {}
    count = 0
    with torch.no_grad(), untouched(moving.model), untouched(reference.model):
        for batch in islice(loader, first):
            ours, theirs = (seen(side.model, {module for _, module in both}, batch, forward) for side in (moving, reference))
            for key in [key for key in both if key[1] in ours and key[1] in theirs]:
                rows = _rows(moving.axes, here[key], ours[key[1]]), _rows(reference.axes, there[key], theirs[key[1]])
                if rows[0].shape[2] != rows[1].shape[2]:
                    raise BadParameter(f"module {key[1]!r} puts out {tuple(ours[key[1]].shape)} in one model and {tuple(theirs[key[1]].shape)} in the other.")
                total[key[0]] = total.get(key[0], 0) + squared_distances(*rows)
            count += 1
    if not count:
        raise BadParameter("the loader gave no batch; activations need at least one.")
    return total


def _outputs(axes: Axes, modules: Mapping[str, nn.Module]) -> list[Output]:
    """Of each space the outputs of norms that have parameters for its units; of a space without such norms, of all that makes it."""
    found: list[tuple[bool, Output]] = []
    for tensor, layout in axes.layouts.items():
        module = tensor.rpartition(".")[0]
        if module not in modules or not layout.axes or not tensor.rpartition(".")[2].startswith("weight"):
            continue
        place = next((i for i in range(len(layout.axes)) if i != layout.consumed and any(isinstance(f, str) for t in layout.axes[i] for f in t)), None)
        if place is not None:
            found += [(len(layout.axes) == 1, output) for output in _terms(axes, tensor, place, modules[module])]
    normed = {output.space for norm, output in found if norm}
    return [output for norm, output in found if norm or output.space not in normed]


def _terms(axes: Axes, tensor: str, place: int, module: nn.Module) -> list[Output]:
    """The spaces along the axis that makes units."""
    name, axis = tensor.rpartition(".")[0], axes.layouts[tensor].axes[place]
    if isinstance(module, nn.MultiheadAttention):
        return []
    if isinstance(module, nn.RNNBase):
        spaces = [factor for factor in axis[0] if isinstance(factor, str)]
        last = tensor.endswith(f"weight_ih_l{module.num_layers - 1}") and not module.bidirectional and not module.proj_size
        return [Output(spaces[0], name, -1, 0, (spaces[0],))] if last else []
    units = 1 if {kind.__name__ for kind in type(module).__mro__} & set(_UNITS_FIRST) else -1
    found = []
    for number, term in enumerate(axis):
        words = [factor for factor in term if isinstance(factor, str)]
        own = [word for word in words if {word, *axes.spaces[word].within} == set(words)]
        found += [Output(word, name, units, axes.length(axis[:number]), term) for word in own]
    return found


def _rows(axes: Axes, output: Output, tensor: Tensor) -> Tensor:
    """(parents, units, examples and positions)"""
    part = tensor.movedim(output.axis, 0)
    if part.shape[0] < output.begin + axes.length((output.term,)):
        raise BadParameter(
            f"module {output.module!r} puts out {tuple(tensor.shape)}, but its weights make {axes.length((output.term,))} units; give costs by hand."
        )
    grid = part.narrow(0, output.begin, axes.length((output.term,))).unflatten(0, axes.sizes(output.term))
    own = (*axes.spaces[output.space].within, output.space)
    grid = grid.movedim([output.term.index(name) for name in own], list(range(len(own))))
    return grid.reshape(-1, grid.shape[len(own) - 1], grid[(0,) * len(own)].numel())


def seen(model: nn.Module, names: set[str], batch: Any, forward: Forward) -> dict[str, Tensor]:
    """What the modules that run put out, all calls of one in a row."""
    found: dict[str, list[Tensor]] = {}

    def watch(name: str, inputs: Any, output: Any) -> None:
        found.setdefault(name, []).append(batches.tensors(output)[0].detach())

    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    with watched({name: module for name, module in model.named_modules() if name in names}, watch):
        forward(model, batches.to_device(batch, device))
    return {name: parts[0] if len(parts) == 1 else torch.cat(parts) for name, parts in found.items()}
