"""What a model is worth to each client, not only on average.

Paper: LEAF: A Benchmark for Federated Settings (2018, https://arxiv.org/abs/1812.01097), section 3: accuracy is reported at percentiles of the clients,
and its mean both over clients and over samples. Code read: TalwalkarLab/leaf at 09ec454a, models/main.py: the percentiles are over clients and
interpolate linearly, as here. The mean of the worst tenth is what work on fairness among clients reports.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, isfinite
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...errors import BadParameter, NamesDiffer, NonFinite
from ..partition.partition import Data

Score = Callable[[nn.Module, Tensor, Tensor], float]


@dataclass(frozen=True)
class OverClients:
    """Scores by client.

    Args:
        scores: of each client.
        sizes: samples that each score is over.
        higher: whether more is better.
    """

    scores: Mapping[str, float]
    sizes: Mapping[str, int]
    higher: bool = True

    @property
    def mean(self) -> float:
        """Every client counts the same."""
        return float(np.mean(list(self.scores.values())))

    @property
    def weighted(self) -> float:
        """Every sample counts the same."""
        return float(np.average(list(self.scores.values()), weights=[self.sizes[name] for name in self.scores]))

    @property
    def worst_first(self) -> list[str]:
        """The clients, the worst first; of equals in order of name."""
        return sorted(self.scores, key=lambda name: (self.scores[name] if self.higher else -self.scores[name], name))

    @property
    def worst(self) -> str:
        """The client with the worst score."""
        return self.worst_first[0]

    @property
    def best(self) -> str:
        """The client with the best score."""
        return self.worst_first[-1]

    @property
    def worst_tenth(self) -> float:
        """The mean score of the worst tenth of the clients, at least one."""
        return float(np.mean([self.scores[name] for name in self.worst_first[: ceil(len(self.scores) / 10)]]))

    def percentile(self, q: float) -> float:
        """What q percent of the clients stay below, between two of them in proportion."""
        return float(np.percentile(list(self.scores.values()), q))

    def summary(self) -> dict[str, Any]:
        """All of it as plain numbers and words, for a table or a file."""
        percentiles = {f"p{q}": self.percentile(q) for q in (10, 50, 90)}
        means = {"clients": len(self.scores), "mean": self.mean, "weighted": self.weighted, "worst_tenth": self.worst_tenth}
        ends = {"worst": self.worst, "worst_score": self.scores[self.worst], "best": self.best, "best_score": self.scores[self.best]}
        return means | percentiles | ends


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """The part of the samples whose largest output is that of their label.

    Part of: over_clients.

    >>> accuracy(torch.nn.Identity(), torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([1, 1]))
    0.5
    """
    return float((model(x).argmax(1) == y).double().mean())


def over_clients(model: nn.Module | Mapping[str, nn.Module], clients: Mapping[str, Data], score: Score = accuracy, higher: bool = True) -> OverClients:
    """Score a model, or each client's own, on each client's data: in evaluation mode, without gradients; the model is left as it was.

    Args:
        model: one for all, or by client.
        clients: (inputs, labels) by name.
        score: of (model, inputs, labels).
        higher: whether more is better; False for a loss.

    Raises:
        BadParameter: there are no clients, or one has no samples.
        NamesDiffer: a client has no model.
        NonFinite: a score is NaN or Inf; the message names the client.

    >>> data = {"a": (torch.eye(2), torch.tensor([0, 1])), "b": (torch.eye(2), torch.tensor([1, 1]))}
    >>> found = over_clients(torch.nn.Identity(), data)
    >>> found.mean, found.worst, found.percentile(10)
    (0.75, 'b', 0.55)
    """
    empty = [name for name, (x, _) in clients.items() if not len(x)]
    if empty or not clients:
        raise BadParameter(f"{empty[0]!r} has no samples to score; leave it out." if empty else "there are no clients to score.")
    lacking = [name for name in clients if name not in model] if isinstance(model, Mapping) else []
    if lacking:
        raise NamesDiffer(f"no model was given for {lacking[0]!r} and {len(lacking) - 1} others; give one for each client.")
    scores = {name: _scored(model[name] if isinstance(model, Mapping) else model, name, data, score) for name, data in clients.items()}
    return OverClients(scores, {name: len(x) for name, (x, _) in clients.items()}, higher)


def _scored(model: nn.Module, name: str, data: Data, score: Score) -> float:
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            value = float(score(model.eval(), *data))
    finally:
        for module, training in modes.items():
            module.training = training
    if not isfinite(value):
        raise NonFinite(f"the score of {name!r} is {value}; a model with NaN or Inf in it has none.")
    return value
