"""Give the units of an interpolated network the spread that its parents' units have.

Paper: REPAIR: REnormalizing Permuted Activations for Interpolation Repair (2022, https://arxiv.org/abs/2211.08403), section 4.
Original code: https://github.com/KellerJordan/REPAIR (notebooks/Train-Merge-REPAIR-VGG11.ipynb). It wraps every layer into a
batch normalization whose weight and bias are the wanted spread and mean, lets the data run through once in training mode, and
folds the result into the layer: `layer_by_layer=False`, except that we pool the variances of the batches instead of averaging
them, and divide by the spread without adding 1e-5 to its square. The default takes a pass for every layer, each behind layers that are
already repaired; only then are the statistics of the result the wanted ones. Where a layer runs straight into a batch normalization
the correction goes there (the paper resets such networks, which is the same where parents agree in the signs of its weights).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BadParameter
from ..evidence.grams import Forward, run_model
from ..weights import Weights, from_module
from ..weights.axes import Axes
from .batch_norm import batch_norms
from .fold_in import fold_in, signs
from .moments import Moments, channel_axis, is_norm, made_axis
from .passes import Data, loaded


@dataclass(frozen=True)
class Goal:
    """Wanted mean and spread of the outputs of a module, channel by channel."""

    mean: Tensor
    std: Tensor


def repair(
    axes: Axes,
    model: nn.Module,
    parents: Sequence[Weights],
    loader: Iterable[Any],
    *,
    shares: Sequence[float] | None = None,
    layer_by_layer: bool = True,
    forward: Forward = run_model,
) -> Weights:
    """The weights of an interpolated network, corrected so that each unit has the mean and the spread, over the data, of

        mean = sum_k share_k mean_k,    std = sum_k share_k std_k,

    those of the parents: y -> (y - mean(y)) std / std(y) + mean, folded into the weight and bias that make y. An average of units that
    are not quite the same moves less than they do, the more so the deeper (variance collapse).

    Corrected are the linear and convolutional layers that make units of a space, and batch normalizations; outputs of the network are
    not. A layer without a bias is scaled, not shifted; one whose weight others share stays. A unit that is constant on the data keeps
    its weights and gets the wanted mean.

    Args:
        axes: which layers make units.
        model: holds the interpolated weights; it is left as it was. Get a model with the result by `loaded(model, repaired)`.
        parents: what was interpolated, in one order of units (permute them first).
        loader: gives batches, the same ones every time; labels are not needed.
        shares: of the parents in the interpolation; equal by default. They add up to 1.
        layer_by_layer: one pass over the data for each layer, which is exact; otherwise one for all, as the authors do it. Of a single batch
            one pass is exact.
        forward: (model, batch) -> anything: how the model is run.

    Raises:
        NamesDiffer, ShapesDiffer, TiesDiffer: a parent is none of this model, or the axes table is not.
        BadParameter: no parent; shares that do not add up to 1; no layer makes units; no batch.
        NonFinite: what runs through a layer holds NaN or Inf.

    >>> from loomweight.weights.axes import axes
    >>> model = nn.Sequential(nn.Linear(1, 2), nn.Linear(2, 1))
    >>> parent = Weights.of({name: torch.ones_like(tensor) for name, tensor in model.state_dict().items()})
    >>> weak = loaded(model, Weights.of({name: tensor * (0.1 if name == "0.weight" else 1) for name, tensor in parent.items()}))
    >>> fixed = repair(axes(model, torch.zeros(1, 1)), weak, [parent, parent], [torch.tensor([[0.0], [2.0]])])
    >>> fixed["0.weight"].round(decimals=4), fixed["0.bias"]
    (tensor([[1.],
            [1.]]), tensor([1., 1.]))
    """
    weights = from_module(model)
    axes.fits(weights)
    twin = loaded(model, weights)
    data = Data(loader, forward)
    goals = _goals(axes, model, parents, _shares(parents, shares), data)
    sites = {name: twin.get_submodule(name) for name in goals}
    one_by_one = layer_by_layer and data.count > 1
    found = {} if one_by_one else _all(twin, sites, goals, data)
    for name in goals:
        seen = data.moments(twin, sites, lambda name, given, output: _raw(sites[name], given, output), name) if one_by_one else found
        fold_in(sites[name], seen[name].checked(name), goals[name].mean, goals[name].std)
    return from_module(twin)


def _shares(parents: Sequence[Weights], shares: Sequence[float] | None) -> list[float]:
    found = list(shares) if shares is not None else [1 / max(len(parents), 1)] * len(parents)
    if not parents or len(found) != len(parents) or not abs(sum(found) - 1) < 1e-6:
        raise BadParameter(f"repair needs a parent or more and a share for each, together 1; found {len(parents)} parents and shares {found}.")
    return found


def _goals(axes: Axes, model: nn.Module, parents: Sequence[Weights], shares: list[float], data: Data) -> dict[str, Goal]:
    goals: dict[str, Goal] = {}
    for share, weights in zip(shares, parents, strict=True):
        parent = loaded(model, weights)
        found, inner = _outputs(parent, _candidates(axes, parent), data)
        for name in [name for name in data.ran if name not in inner]:
            now = found[name]
            before = goals.get(name, Goal(torch.zeros_like(now.mean), torch.zeros_like(now.mean)))
            goals[name] = Goal(before.mean + share * now.mean, before.std + share * now.std)
    if not goals:
        raise BadParameter(f"no layer of {type(model).__name__} that ran makes units of a space of the axes table; there is nothing to repair.")
    return goals


def _candidates(axes: Axes, model: nn.Module) -> dict[str, nn.Module]:
    """Layers that make units, and batch normalizations."""
    found, norms, ties = {}, batch_norms(model), from_module(model).ties
    for name, module in model.named_modules():
        made, weight = made_axis(module), f"{name}.weight" if name else "weight"
        own = weight in axes.layouts and weight not in {*ties, *ties.values()}
        makes = made is not None and own and any(isinstance(f, str) for term in axes.layouts[weight].axes[made] for f in term)
        if makes or name in norms:
            found[name] = module
    return found


def _outputs(model: nn.Module, modules: Mapping[str, nn.Module], data: Data) -> tuple[dict[str, Moments], set[str]]:
    """Moments of what the modules put out; and those layers whose output a batch normalization takes as it is."""
    inner: set[str] = set()
    last: list[tuple[str, Tensor]] = []

    def of(name: str, given: Tensor, output: Tensor) -> Moments:
        if is_norm(modules[name]) and last and last[0][1] is given:
            inner.add(last[0][0])
        last[:] = [(name, output)]
        return Moments.of(output, channel_axis(modules[name]))

    return data.moments(model, modules, of), inner


def _raw(module: nn.Module, given: Tensor, output: Tensor) -> Moments:
    """What a correction is measured on: a normalization is given anew, a layer's own output is moved."""
    return Moments.of(given if is_norm(module) else output, channel_axis(module))


def _all(twin: nn.Module, sites: Mapping[str, nn.Module], goals: Mapping[str, Goal], data: Data) -> dict[str, Moments]:
    found: dict[str, Moments] = {}

    def see(name: str, given: Tensor, output: Tensor) -> Tensor:
        now, axis = _raw(sites[name], given, output), channel_axis(sites[name])
        found[name] = found[name].plus(now) if name in found else now
        gain = torch.where(now.constant, 1.0, goals[name].std / now.std) * signs(sites[name])
        raw = given if is_norm(sites[name]) else output
        return ((raw.movedim(axis, -1) - now.mean) * gain + goals[name].mean).movedim(-1, axis).to(output.dtype)

    data.through(twin, sites, see, words="statistics")
    return found
