"""Networks that predict a value and how uncertain it is, smooth enough for second derivatives.

Papers: Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles (2017, https://arxiv.org/abs/1612.01474), equation 1 and section 2.4:
each network gives a mean and a variance and is trained by the likelihood; together they are an even mixture of normals. Softplus in the place of ReLU, whose
second derivative is 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ...errors import BadParameter
from .predictor import Array, Learned, Posterior, Predictor, Scale
from .training import drawn, tensor, train


@dataclass(frozen=True)
class Heteroscedastic(Predictor):
    """A mixture of networks that each give N(mean, variance) of a row: mean of means; variance = mean of variances + variance of means.

    The first part is the noise of labels (aleatoric), which may differ from row to row; the second what is not known yet (epistemic).

    Args:
        widths: of the hidden layers.
        members: how many networks.
        steps: of AdamW, each over all labels.
        rate: of learning, falling to 0 along a cosine.
        decay: of the weights.
        seed: of the first weights.

    Raises:
        BadParameter: no layer, member or step, or a rate that is not above 0.

    >>> x = [[0.0], [1.0], [2.0], [3.0]]
    >>> bool(Heteroscedastic().fit(x, [0.0, 1.0, 2.0, 3.0]).posterior([[9.0]]).spread[0] > 0.1)
    True
    """

    widths: tuple[int, ...] = (64, 32)
    members: int = 5
    steps: int = 100
    rate: float = 1e-2
    decay: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        if min(self.widths, default=0) < 1 or self.members < 1 or self.steps < 1 or not self.rate > 0:
            raise BadParameter(f"networks need layers, members and steps, at least 1, and a rate above 0; found {self}.")

    def learn(self, x: Array, y: Array) -> Learned:
        """Train all members at once."""
        columns, labels = Scale.of(x), Scale.of(y)
        mixture = self.trained(columns.apply(x), labels.apply(y))

        def belief(rows: Array) -> Posterior:
            with torch.no_grad():
                mean, noise, doubt = mixture(tensor(columns.apply(rows)))
            return labels.undo(Posterior(mean.double().numpy(), (noise + doubt).sqrt().double().numpy()))

        return belief

    def trained(self, x: Array, y: Array) -> "Mixture":
        """The networks, from standardised rows and labels."""
        mixture = Mixture((x.shape[1], *self.widths, 2), self.members, torch.Generator().manual_seed(self.seed))
        rows, wanted = tensor(x), tensor(y)

        def loss() -> Tensor:
            mean, variance = mixture.members(rows)
            return (((mean - wanted) ** 2 / variance + variance.log()) / 2).mean(dim=1).sum()

        train(mixture.parameters, loss, self.steps, self.rate, self.decay)
        return mixture


class Mixture:
    """Softplus networks, all at once; a function from (n, d) to mean, aleatoric and epistemic variance of each row, with derivatives."""

    def __init__(self, sizes: Sequence[int], members: int, generator: torch.Generator) -> None:
        self.weights = [drawn(members, a, b, fan_in=2 * a, generator=generator) for a, b in pairwise(sizes)]
        self.biases = [torch.zeros(members, 1, b, requires_grad=True) for b in sizes[1:]]
        self.parameters = [*self.weights, *self.biases]

    def members(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance that each network gives each row, (members, n); variances are 1e-4 at least."""
        hidden = rows.expand(len(self.weights[0]), *rows.shape)
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            hidden = torch.nn.functional.softplus(torch.baddbmm(bias, hidden, weight))
        mean, raw = torch.baddbmm(self.biases[-1], hidden, self.weights[-1]).unbind(dim=-1)
        return mean, torch.nn.functional.softplus(raw) + 1e-4

    def __call__(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, variance = self.members(rows)
        return mean.mean(dim=0), variance.mean(dim=0), mean.var(dim=0, correction=0)
