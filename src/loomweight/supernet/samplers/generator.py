"""A network that gives a subnet of a requested cost: the cost in, odds for every field out; trained by gradients through a model of the cost."""

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..elastic import Elastic, Values
from .levels import Levels, tilted

#: configurations whose cost is measured to learn from, hidden units, steps of Adam
_SHOWN, _HIDDEN, _STEPS = 128, 32, 150


class CostGenerator:
    """t -> logits of all options, so that a configuration drawn from them costs about t, as a share of the range of costs.

    A model of the cost, tanh layers on the options in use, is fitted to measured costs. The generator is then trained on
    min (cost(choice) - t)^2 with the gradient of the chosen options passed on to their soft odds (straight-through Gumbel softmax).
    """

    def __init__(self) -> None:
        self.layers: list[Tensor] | None = None

    def draw(self, net: Elastic, levels: Levels, target: float, random: np.random.Generator) -> Values:
        """A configuration for a target cost; the network is trained when it is first asked."""
        if self.layers is None:
            self._train(net, levels, random)
        sizes = _sizes(net)
        with torch.no_grad():
            logits = _forward(self.layers or [], torch.tensor([[target]])).split(sizes, dim=-1)
        values = {}
        for (name, dimension), row in zip(net.space.dimensions.items(), logits, strict=True):
            odds = row[0].double().softmax(0).numpy()
            values[name] = dimension.options[int(random.choice(len(odds), p=odds / odds.sum()))]  # type: ignore[attr-defined]
        return net.space.canonical(values)

    def state(self) -> list[Any] | None:
        """The layers as plain data."""
        return None if self.layers is None else [layer.tolist() for layer in self.layers]

    def load(self, state: list[Any] | None) -> None:
        """From plain data."""
        self.layers = None if state is None else [torch.tensor(layer) for layer in state]

    def _train(self, net: Elastic, levels: Levels, random: np.random.Generator) -> None:
        numbers = torch.Generator().manual_seed(int(random.integers(2**31)))
        sizes = _sizes(net)
        shown = [tilted(net, float(random.uniform(-8, 8)), random) for _ in range(_SHOWN)]
        x = torch.stack([_one_hot(net, values) for values in shown])
        y = torch.tensor([[levels.place(net, values)] for values in shown])
        cost = _layers([sum(sizes), _HIDDEN, 1], numbers)
        _descend(cost, lambda: (_forward(cost, x) - y).square().mean())
        layers = _layers([1, _HIDDEN, sum(sizes)], numbers)

        def missed() -> Tensor:
            targets = torch.rand(64, 1, generator=numbers)
            noise = torch.rand(64, sum(sizes), generator=numbers).clamp(1e-9, 1 - 1e-7)
            soft = [part.softmax(-1) for part in (_forward(layers, targets) - (-noise.log()).log()).split(sizes, dim=-1)]
            hard = [torch.nn.functional.one_hot(part.argmax(-1), part.shape[-1]) - part.detach() + part for part in soft]
            return (_forward(cost, torch.cat(hard, -1)) - targets).square().mean()

        _descend(layers, missed)
        self.layers = [layer.detach() for layer in layers]


def _sizes(net: Elastic) -> list[int]:
    return [len(dimension.options) for dimension in net.space.dimensions.values()]  # type: ignore[attr-defined]


def _one_hot(net: Elastic, values: Values) -> Tensor:
    return torch.tensor([float(option == values[name]) for name, dimension in net.space.dimensions.items() for option in dimension.options])  # type: ignore[attr-defined]


def _layers(sizes: list[int], numbers: torch.Generator) -> list[Tensor]:
    made = []
    for before, after in pairwise(sizes):
        made += [torch.randn(before, after, generator=numbers) / before**0.5, torch.zeros(after)]
    return [layer.requires_grad_() for layer in made]


def _forward(layers: list[Tensor], x: Tensor) -> Tensor:
    return torch.tanh(x @ layers[0] + layers[1]) @ layers[2] + layers[3]


def _descend(layers: list[Tensor], loss: Any) -> None:
    optimizer = torch.optim.Adam(layers, lr=0.05)
    with torch.enable_grad():
        for _ in range(_STEPS):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()
