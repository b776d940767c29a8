"""Model Stock during training: runs from one start are merged now and then, and all go on from the merge.

Paper: Model Stock: All we need is just a few fine-tuned models (2024, https://arxiv.org/abs/2403.19522), equations 2 and 5, applied
periodically; the authors merge two runs at the end of every epoch. The formula is `loomweight.rules.ModelStock`.
We differ: floating buffers, which no angle speaks of, become the mean of those of the runs; integer buffers stay each model's.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ..errors import BadParameter, NamesDiffer, TooFewSets
from ..rules import Mean, combine, model_stock
from ..weights import Weights, from_module
from ..weights.algebra import agree, keep
from ..weights.names import listed
from ..weights.spec import Spec
from .model import bare


def periodic_model_stock(
    models: Sequence[nn.Module],
    anchor: Weights,
    by: Literal["tensor", "layer", "model", "row"] = "layer",
    points: "Iterable[Weights | Mapping[str, Tensor]] | None" = None,
) -> Weights:
    """w <- w_0 + t (mean of the w_i - w_0), t from the angle between the w_i - w_0 of each layer; then every model is set to w.

    Call it at the end of every period. The anchor w_0 stays what it was: the weights from which fine-tuning began. The optimizers keep their state.

    Args:
        models: the runs, two or more; one, where `points` are given.
        anchor: w_0, the common start, in memory of its own: `lw.load(copy.deepcopy(model))` before training.
        by: what an angle is measured over.
        points: merge these instead of the models as they are now: state dicts of one run, say, copied at the ends of epochs.

    Returns:
        The merged weights, of their own.

    Raises:
        TooFewSets: fewer than two sets.
        NamesDiffer, ShapesDiffer: they do not fit the anchor.
        BadParameter: the anchor is a view of a model, and moves as that is trained.
        NonFinite: a set holds NaN or Inf; no model was changed.

    >>> a, b = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
    >>> _ = a.weight.data.copy_(torch.tensor([1.0, 0.0])), b.weight.data.copy_(torch.tensor([0.6, 0.8]))
    >>> start = lw.Weights.of({"weight": torch.zeros(1, 2)})
    >>> merged = periodic_model_stock([a, b], start)  # cos = 0.6, t = 0.75
    >>> b.weight.data
    tensor([[0.6000, 0.3000]])
    """
    runs = [bare(model) for model in models]
    if not runs:
        raise TooFewSets("there is no model to merge; give two or more, or one with points.")
    _refuse_views(runs, anchor)
    sets = [from_module(run, f"run {i}") for i, run in enumerate(runs)]
    if points is not None:
        sets = [point if isinstance(point, Weights) else Weights.of(point, f"point {i}") for i, point in enumerate(points)]
    for other in sets:
        agree(from_module(runs[0]), other)
    merged = _merged(runs[0], anchor, sets, by)
    with torch.no_grad():
        for run in runs:
            for name, tensor in run.state_dict(keep_vars=True).items():
                if name in merged:
                    tensor.copy_(merged[name])
    return Weights.of(merged, f"model stock of {len(sets)}")


def _merged(model: nn.Module, anchor: Weights, sets: list[Weights], by: Literal["tensor", "layer", "model", "row"]) -> dict[str, Tensor]:
    """All of it read before anything is written."""
    parameters = tuple(name for name, _ in model.named_parameters(remove_duplicate=False))
    if missing := [name for name in parameters if name not in anchor]:
        raise NamesDiffer(f"the anchor does not hold {listed(missing)}; it is the whole model before fine-tuning.")
    buffers = [name for name, tensor in model.state_dict().items() if name not in parameters and Spec(tuple(tensor.shape), tensor.dtype).averages]
    stock = combine([keep(w, parameters) for w in sets], model_stock(keep(anchor, parameters), by))
    found = {name: stock[name].clone() for name in stock.physical}
    found |= {alias: found[owner] for alias, owner in stock.ties.items()}
    return found | ({name: tensor.clone() for name, tensor in combine([keep(w, buffers) for w in sets], Mean()).items()} if buffers else {})


def _refuse_views(runs: list[nn.Module], anchor: Weights) -> None:
    for run in runs:
        for name, parameter in run.named_parameters():
            if name in anchor and parameter.numel() and anchor[name].data_ptr() == parameter.data_ptr():
                raise BadParameter(f"tensor {name!r} of the anchor is the model's own, and moves as it is trained; take lw.load(copy.deepcopy(model)).")
