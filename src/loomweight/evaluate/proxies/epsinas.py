"""How differently a network answers when all its weights are one small number, and when they are all one large number.

Paper: Neural Architecture Search: Two Constant Shared Weights Initialisations (2023, https://arxiv.org/abs/2302.04406), algorithm 1.
Original code: https://github.com/egracheva/epsinas (NAS-Bench-201/epsinas_utils.py). We differ: outputs that are all equal are an error,
where the code gives NaN; embeddings keep their values, where the code draws them anew.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import BadParameter, NonFinite
from .borrowed import Borrowed, borrowed


def epsinas(model: nn.Module, inputs: Any, weights: tuple[float, float] = (1e-7, 1.0)) -> float:
    """mean |p - q| / mean(p and q), where p and q are all outputs of a batch, scaled to 0 ... 1, with every weight at one of two numbers.

    Biases are 0; entries that are 0 after scaling count nowhere. No labels, no gradients, no random numbers. Larger is taken for better.

    Args:
        model: any module; it is left as it was. It runs in training mode, with dropout off, in its own precision.
        inputs: as for `gradient_norm`.
        weights: the two numbers; the paper searches for the widest pair that gives scores.

    Raises:
        BadParameter: the numbers are equal or not finite, or the model does not run.
        NonFinite: outputs vanish, overflow or are all equal. In float32 deep networks of weights at 1e-7 do: give other numbers, or the model in float64.

    >>> clipped = nn.Sequential(nn.Linear(1, 1), nn.Hardtanh())                 # outputs 0, 1/2, 1, and 0, 1, 1
    >>> round(epsinas(clipped, torch.tensor([[0.0], [0.5], [1.0]]), (1.0, 2.0)), 4)     # (1/2 + 0)/2 over (1/2 + 1 + 1 + 1)/4
    0.2857
    """
    low, high = weights
    if not (abs(low) < float("inf") and abs(high) < float("inf")) or low == high:
        raise BadParameter(f"epsinas: two different finite numbers are needed, found {low} and {high}.")
    with borrowed(model, "epsinas") as loan, torch.no_grad():
        first, second = (_scaled(loan, inputs, number) for number in weights)
    both = first.isfinite() & second.isfinite()
    return float((first - second)[both].abs().mean() / torch.cat([first, second]).nanmean())


def _scaled(loan: Borrowed, inputs: Any, number: float) -> Tensor:
    """Outputs from 0 to 1, NaN in the place of 0."""
    kept = set(_embeddings(loan.model))
    for name, value in loan.weights.items():
        if name not in kept:
            value.fill_(0.0 if "bias" in name.rpartition(".")[2] else number)
    outputs = loan.run(inputs).flatten().double()
    low, high = outputs.aminmax()
    if not low < high < float("inf"):
        what = "all equal" if low == high else "not finite"
        raise NonFinite(f"epsinas: with all weights at {number} the outputs of {type(loan.model).__name__} are {what}; try other numbers, or float64.")
    scaled = (outputs - low) / (high - low)
    return scaled.where(scaled != 0, float("nan"))


def _embeddings(model: nn.Module) -> Iterator[str]:
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding | nn.EmbeddingBag)}
    return (name for name, value in model.named_parameters() if id(value) in tables)
