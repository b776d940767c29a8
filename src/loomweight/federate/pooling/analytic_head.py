"""Analytic federated learning of the last layer of a model.

Paper: Analytic Federated Learning (2024, https://arxiv.org/abs/2405.16240).
"""

from dataclasses import dataclass

import torch

from ..plain import Plain, Reply, Tensors
from .aggregate import Aggregate, Book
from .analytic import solved

_TERM = "RidgeHead"


@dataclass(frozen=True)
class AnalyticHead(Aggregate):
    """A linear layer becomes the regression on all clients' features: `Strategy(objective=(RidgeHead(head),), aggregate=AnalyticHead(head))`, one round.

    Sums alone are kept, as many bytes as one client sends. All other tensors stay as they are; say "keep" of them, and they do not travel.

    Args:
        head: name of the linear layer.
        gamma: as in `RidgeHead`.
        ridge: regularisation that is left.

    >>> AnalyticHead("fc")
    AnalyticHead(head='fc', gamma=1.0, ridge=0.0)
    """

    head: str
    gamma: float = 1.0
    ridge: float = 0.0

    def wrong(self, reply: Reply) -> str | None:
        """Its regression."""
        sent = reply.extra.get(_TERM, {})
        out, features = reply.update[f"{self.head}.weight"].shape
        features += f"{self.head}.bias" in reply.update
        fits = {name: tuple(tensor.shape) for name, tensor in sent.items()} == {"gram": (features, features), "weight": (features, out)}
        return None if fits else f"it lacks a regression of {features} features on {out} outputs; add RidgeHead({self.head!r}) to the objective"

    def add(self, held: Plain, reply: Reply, weights: Tensors) -> None:
        """Add to the sums."""
        sent = reply.extra[_TERM]
        moment = sent["gram"] @ sent["weight"]
        held["gram"], held["moment"] = held.get("gram", 0) + sent["gram"], held.get("moment", 0) + moment
        held["clients"] = held.get("clients", 0) + 1

    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        """Solve."""
        found = solved(held["gram"], held["moment"], held["clients"] * self.gamma - self.ridge).T
        name, bias = f"{self.head}.weight", f"{self.head}.bias"
        made = {name: found[:, : weights[name].shape[1]].to(weights[name].dtype).contiguous()}
        if bias in weights:
            made[bias] = found[:, -1].to(weights[bias].dtype).contiguous()
        return {**weights, **made}, state


def with_ones(features: torch.Tensor) -> torch.Tensor:
    """Features with a column of ones: a bias.

    Part of: analytic_head.

    >>> with_ones(torch.zeros(1, 2))
    tensor([[0., 0., 1.]])
    """
    return torch.cat([features, features.new_ones(len(features), 1)], 1)
