"""A few small networks that predict accuracy from encoded configurations.

Papers: Once-for-All: Train One Network and Specialize it for Efficient Deployment (2020, https://arxiv.org/abs/1908.09791), the accuracy predictor:
three layers, squared error on tens of thousands of labels; Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles (2017,
https://arxiv.org/abs/1612.01474), for the spread: members differ in their first weights
alone. For the few labels that are usual here the layers are narrower, and weights decay.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ...errors import BadParameter
from .predictor import Array, Learned, Posterior, Predictor, Scale
from .training import LOSSES, drawn, line, loss_of, tensor, train


@dataclass(frozen=True)
class MLP(Predictor):
    """Mean of several ReLU networks; the spread is their disagreement, which says nothing of the noise of labels.

    With the loss "kendall" networks learn the order alone, and a straight line through the labels gives their scores the labels' unit. That ranks better where
    labels are few or skewed (docs/BENCHMARKS.md); the squared error says better how much.

    Args:
        widths: of the hidden layers.
        members: how many networks.
        steps: of AdamW, each over all labels.
        rate: of learning, falling to 0 along a cosine.
        decay: of the weights.
        loss: "squared" or "kendall".
        seed: of the first weights; the same seed and labels give the same predictor.

    Raises:
        BadParameter: no layer, member or step, a loss that does not exist, a rate that is not above 0.

    >>> x = [[0.0], [1.0], [2.0], [3.0]]
    >>> MLP(steps=200).fit(x, [0.0, 1.0, 2.0, 3.0]).predict([[1.5]]).round(1)
    array([1.5])
    """

    widths: tuple[int, ...] = (64, 64)
    members: int = 5
    steps: int = 300
    rate: float = 3e-3
    decay: float = 1.0
    loss: str = "squared"
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        if min(self.widths, default=0) < 1 or self.members < 1 or self.steps < 1 or not self.rate > 0:
            raise BadParameter(f"networks need layers, members and steps, at least 1, and a rate above 0; found {self}.")
        if self.loss not in LOSSES:
            raise BadParameter(f"loss is one of {', '.join(LOSSES)}; found {self.loss!r}.")

    def learn(self, x: Array, y: Array) -> Learned:
        """Train all members at once."""
        columns, labels = Scale.of(x), Scale.of(y)
        rows, wanted = tensor(columns.apply(x)), tensor(labels.apply(y))
        layers = _layers((x.shape[1], *self.widths, 1), self.members, torch.Generator().manual_seed(self.seed))
        parameters = [each for pair in layers for each in pair]
        train(
            parameters, lambda: torch.stack([loss_of(self.loss, scores, wanted) for scores in _scores(layers, rows)]).sum(), self.steps, self.rate, self.decay
        )
        lines = [line(scores, labels.apply(y)) if self.loss == "kendall" else (1.0, 0.0) for scores in _found(layers, rows)]

        def belief(new: Array) -> Posterior:
            scores = _found(layers, tensor(columns.apply(new)))
            found = np.stack([slope * row + level for (slope, level), row in zip(lines, scores, strict=True)])
            return labels.undo(Posterior(found.mean(axis=0), found.std(axis=0)))

        return belief


Layers = list[tuple[Tensor, Tensor]]


def _layers(sizes: tuple[int, ...], members: int, generator: torch.Generator) -> Layers:
    """Weights (members, in, out) and biases (members, 1, out) of each layer."""
    return [(drawn(members, a, b, fan_in=a, generator=generator), torch.zeros(members, 1, b, requires_grad=True)) for a, b in pairwise(sizes)]


def _scores(layers: Layers, rows: Tensor) -> Tensor:
    """(members, n) from (n, d)."""
    hidden = rows.expand(len(layers[0][0]), *rows.shape)
    for weight, bias in layers[:-1]:
        hidden = torch.relu(torch.baddbmm(bias, hidden, weight))
    weight, bias = layers[-1]
    return torch.baddbmm(bias, hidden, weight)[..., 0]


def _found(layers: Layers, rows: Tensor) -> Array:
    with torch.no_grad():
        return _scores(layers, rows).double().numpy()
