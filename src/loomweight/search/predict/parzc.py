"""A small mixer with uncertain weights over the statistics of a network's nodes, trained for the order of networks.

Paper: ParZC: Parametric Zero-Cost Proxies for Efficient NAS (2024, https://arxiv.org/abs/2402.02105): instead of summing a zero-cost statistic over
nodes, learn from few labels what each node's is worth. MABN: an embedding and a head whose weights are drawn from N(mean, softplus(rho)^2), rho from -5 on,
mixer blocks between them, the mean over nodes; the loss is the smooth Kendall correlation alone, without a prior over the weights, as in the authors' code
(PicoNAS). A linear layer sees the statistics
of all nodes, and what it gives is cut into pieces. In the authors' blocks both halves mix within a piece; here the first half mixes pieces and the second
channels, as an MLP-Mixer does. Predictions are means over draws, and a straight line through the labels gives them the labels' unit.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...errors import BadParameter
from .predictor import Array, Learned, Posterior, Predictor, Scale
from .training import LOSSES, drawn, line, loss_of, tensor, train


@dataclass(frozen=True)
class ParZC(Predictor):
    """Learns from rows that hold the statistics of every node of a network, one node after the other; a node that a network lacks has zeros.

    The spread is that over draws of the weights.

    Args:
        pieces: that the first layer's outputs are cut into.
        piece: outputs in each.
        width: of a piece's embedding.
        blocks: of the mixer.
        steps: of AdamW, each over all labels with other weights drawn.
        rate: of learning, falling to 0 along a cosine.
        loss: "kendall", or "squared".
        seed: of first weights and draws.

    Raises:
        BadParameter: a number below 1, a loss that does not exist.

    >>> nodes = [[float(i), 1.0, float(i % 2), 0.0] for i in range(8)]
    >>> ParZC().fit(nodes, range(8)).predict(nodes).argsort().tolist()
    [0, 1, 2, 3, 4, 5, 6, 7]
    """

    pieces: int = 8
    piece: int = 8
    width: int = 32
    blocks: int = 1
    steps: int = 300
    rate: float = 3e-3
    loss: str = "kendall"
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.pieces, self.piece, self.width, self.blocks, self.steps) < 1 or not self.rate > 0:
            raise BadParameter(f"pieces, piece, width, blocks and steps are at least 1 and the rate is above 0; found {self}.")
        if self.loss not in LOSSES:
            raise BadParameter(f"loss is one of {', '.join(LOSSES)}; found {self.loss!r}.")

    def learn(self, x: Array, y: Array) -> Learned:
        """Train the mixer."""
        columns, labels = Scale.of(x), Scale.of(y)
        generator = torch.Generator().manual_seed(self.seed)
        mixer = Mixer(x.shape[1], (self.pieces, self.piece), self.width, self.blocks, generator)
        rows, wanted = tensor(columns.apply(x)), tensor(labels.apply(y))
        train(mixer.parameters, lambda: loss_of(self.loss, mixer.scores(rows, generator), wanted), self.steps, self.rate, decay=1e-2)
        state = generator.get_state()
        slope, level = line(self._draws(mixer, rows, state).mean(axis=0), labels.apply(y))

        def belief(new: Array) -> Posterior:
            found = slope * self._draws(mixer, tensor(columns.apply(new)), state) + level
            return labels.undo(Posterior(found.mean(axis=0), found.std(axis=0)))

        return belief

    def _draws(self, mixer: "Mixer", rows: Tensor, state: Tensor) -> Array:
        """Scores (draws, n) under the same 16 draws of the weights each time."""
        generator = torch.Generator()
        generator.set_state(state)
        with torch.no_grad():
            return np.stack([mixer.scores(rows, generator).double().numpy() for _ in range(16)])


class Mixer:
    """MABN: all statistics to pieces, an uncertain embedding of each, blocks that mix pieces and then channels, the mean over pieces, an uncertain head."""

    def __init__(self, inputs: int, shape: tuple[int, int], width: int, blocks: int, generator: torch.Generator) -> None:
        pieces, piece = self.shape = shape
        self.first = drawn(inputs, pieces * piece, fan_in=2 * inputs, generator=generator)
        self.embed, self.head = _uncertain(piece, width, generator), _uncertain(width, 1, generator)
        self.blocks = [(_two(pieces, 2 * pieces, generator), _two(width, 2 * width, generator)) for _ in range(blocks)]
        self.parameters = [self.first, *self.embed, *self.head, *(each for block in self.blocks for two in block for each in two)]

    def scores(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """(n,) from (n, inputs), the weights drawn once for all rows."""
        hidden = (rows @ self.first).view(len(rows), *self.shape) @ _draw(self.embed, generator)
        for pieces, channels in self.blocks:
            hidden = hidden + _through(pieces, _normal(hidden).transpose(1, 2)).transpose(1, 2)
            hidden = hidden + _through(channels, _normal(hidden))
        return (_normal(hidden).mean(dim=1) @ _draw(self.head, generator))[:, 0]


def _uncertain(inputs: int, outputs: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mean of a weight matrix, and rho; softplus(rho) is its entries' standard deviation."""
    return drawn(inputs, outputs, fan_in=inputs, generator=generator), torch.full((inputs, outputs), -5.0, requires_grad=True)


def _draw(weight: tuple[Tensor, Tensor], generator: torch.Generator) -> Tensor:
    mean, rho = weight
    return mean + torch.nn.functional.softplus(rho) * torch.randn(mean.shape, generator=generator)


def _two(size: int, hidden: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    first, second = drawn(size, hidden, fan_in=size, generator=generator), drawn(hidden, size, fan_in=hidden, generator=generator)
    return first, torch.zeros(hidden, requires_grad=True), second, torch.zeros(size, requires_grad=True)


def _through(two: tuple[Tensor, Tensor, Tensor, Tensor], x: Tensor) -> Tensor:
    first, bias, second, end = two
    return torch.nn.functional.gelu(x @ first + bias) @ second + end


def _normal(x: Tensor) -> Tensor:
    return torch.nn.functional.layer_norm(x, x.shape[-1:])
