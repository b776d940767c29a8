"""Which layer of a shallower network stands for which of a deeper one, without crossing.

Paper: On Cross-Layer Alignment for Model Fusion of Heterogeneous Neural Networks (2021, https://arxiv.org/abs/2110.15538), section 3.
Original code: https://github.com/hsgser/clafusion, align_layers.py, layer_similarity.py.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from ..errors import BadParameter
from ..evidence.grams import Forward, run_model
from ..evidence.untouched import untouched
from .activation_costs import Network, seen
from .stages import Layer, Stage, stages


@dataclass(frozen=True, eq=False)
class LayerEvidence:
    """What data says of layers, as `layer_evidence` gives it.

    Args:
        costs: for every stage, (layers of the moving network, layers of the reference): how unlike they are.
        active: layer's last module -> for every unit whether its values before the ReLU are positive in sum; of the moving network.
    """

    costs: tuple[Tensor, ...]
    active: Mapping[str, Tensor]


def layer_evidence(
    moving: Network,
    reference: Network,
    loader: Iterable[Any],
    *,
    layers: Sequence[str | Stage] | None = None,
    first: int = 4,
    forward: Forward = run_model,
) -> LayerEvidence:
    """How unlike the layers of two networks are: 1 - CKA of what they put out on the same examples.

    CKA(X, Y) = <H X X^T H, H Y Y^T H> / (||H X X^T H|| ||H Y Y^T H||), where X has a row for every example and H centres

    Part of: cla_fusion.

    Args:
        moving: table and model that is to be carried.
        reference: table and model that stays.
        loader: gives batches; the examples of all of them are held at once.
        layers: as for `cla_fusion`.
        first: how many batches.
        forward: (model, batch) -> anything: how a model is run.

    Raises:
        BadParameter: no batch; a layer is no module of the model, or does not run.

    >>> from loomweight.weights.axes import axes
    >>> relu, line = torch.nn.ReLU(), torch.nn.Linear
    >>> a, b = torch.nn.Sequential(line(3, 5), relu, line(5, 2)), torch.nn.Sequential(line(3, 5), relu, line(5, 5), relu, line(5, 2))
    >>> x = torch.rand(6, 3)
    >>> [cost.shape for cost in layer_evidence(Network(axes(a, x), a), Network(axes(b, x), b), [x]).costs]
    [torch.Size([2, 3])]
    """
    found = stages(moving.axes, reference.axes, layers)
    data = list(islice(loader, first))
    if not data:
        raise BadParameter("the loader gave no batch; evidence of layers needs at least one.")
    ours = _put_out(moving, [layer for stage, _ in found for layer in stage], data, forward)
    theirs = _put_out(reference, [layer for _, stage in found for layer in stage], data, forward)
    grams = [{name: _gram(values) for name, values in side.items()} for side in (ours, theirs)]
    costs = [torch.stack([torch.stack([1 - _cosine(grams[0][a[-1]], grams[1][b[-1]]) for b in there]) for a in here]) for here, there in found]
    return LayerEvidence(tuple(costs), {name: values.double().flatten(0, -2).sum(0) >= 0 for name, values in ours.items() if values.ndim > 1})


def _put_out(network: Network, layers: Sequence[Layer], data: Sequence[Any], forward: Forward) -> dict[str, Tensor]:
    names = {layer[-1] for layer in layers}
    if missing := names - dict(network.model.named_modules()).keys():
        raise BadParameter(f"the model has no module {min(missing)!r}, so its output is not known; name layers that are modules.")
    with torch.no_grad(), untouched(network.model):
        parts = [seen(network.model, names, batch, forward) for batch in data]
    if missing := names - set.intersection(*(set(part) for part in parts)):
        raise BadParameter(f"module {min(missing)!r} did not run on a batch; leave it out of the layers.")
    return {name: torch.cat([part[name] for part in parts]) for name in names}


def _gram(values: Tensor) -> Tensor:
    """Centred, (examples, examples)."""
    rows = values.double().flatten(1)
    rows = rows - rows.mean(0)
    return rows @ rows.T


def _cosine(first: Tensor, second: Tensor) -> Tensor:
    if first.shape != second.shape:
        raise BadParameter(f"the two models put out {len(first)} and {len(second)} examples for the same batches; their layers cannot be compared.")
    return (first * second).sum() / (first.norm() * second.norm()).clamp_min(1e-300)


def by_position(rows: int, columns: int) -> Tensor:
    """Costs where nothing else is known: how far apart layers are in relative depth, squared."""
    here, there = ((torch.arange(n, dtype=torch.float64) + 0.5) / n for n in (rows, columns))
    return (here[:, None] - there[None]).square()


def monotone(cost: Tensor) -> list[int]:
    """The columns a(0) < a(1) < ... of least cost in sum, one for each row; of equal ones those that come first.

    F(k, l) = min(F(k, l - 1), F(k - 1, l - 1) + cost(k, l)), where F(k, l) is the least cost of rows up to k in columns up to l

    Raises:
        BadParameter: there are fewer columns than rows, or infinite costs leave no way.

    >>> monotone(torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 0.5]]))
    [1, 2]
    """
    rows, columns = cost.shape
    least = torch.full((rows + 1, columns + 1), torch.inf, dtype=torch.float64)
    least[0] = 0
    for k in range(1, rows + 1):
        for l in range(k, columns + 1):  # noqa: E741
            least[k, l] = torch.minimum(least[k, l - 1], least[k - 1, l - 1] + cost[k - 1, l - 1])
    if not least[rows, columns].isfinite():
        raise BadParameter(f"{rows} layers cannot be matched to {columns} in order, each to one of its kind.")
    found, l = [], columns  # noqa: E741
    for k in range(rows, 0, -1):
        while least[k, l] == least[k, l - 1]:
            l -= 1  # noqa: E741
        found.append(l - 1)
        l -= 1  # noqa: E741
    return found[::-1]
