"""The server's half of SCALLION and SCAFCOM: it keeps the control variates.

Paper: Stochastic Controlled Averaging for Federated Learning with Communication Compression (2023, https://arxiv.org/abs/2308.08165), algorithms 1 and 2.
"""

from dataclasses import dataclass, field

import torch

from ...rules import Mean
from ..plain import Plain, Reply, Tensors
from .aggregate import Aggregate, Book
from .pool import Pool, stepped


@dataclass(frozen=True)
class ControlledPool(Aggregate):
    """w <- w - rate span (c + mean of increments), c <- c + (replies / clients) mean of increments; span is the median of rate * steps of the clients.

    Replies are those of `StochasticControlled`: an update is the increment with its sign turned. Clients count alike.

    Part of: scallion.

    Args:
        pooled: how increments become one: the mean of the paper, or another rule.
        key: of the term that sends them.

    >>> ControlledPool().start({"w": torch.ones(2)})
    {'control': {'w': tensor([0., 0.])}}
    """

    pooled: Pool = field(default_factory=lambda: Pool(Mean(), counts=False))
    key: str = "StochasticControlled"

    @property
    def sums(self) -> bool:  # type: ignore[override]
        """As the pool's."""
        return self.pooled.sums

    def start(self, weights: Tensors) -> Plain:
        """c = 0."""
        return {"control": {name: torch.zeros(t.shape, dtype=torch.promote_types(t.dtype, torch.float32)) for name, t in weights.items()}}

    def add(self, held: Plain, reply: Reply, weights: Tensors) -> None:
        """As the pool does, and the client's span."""
        self.pooled.add(held, reply, weights)
        span = reply.extra.get(self.key, {}).get("span")
        held.setdefault("spans", []).append(float(span) if span is not None and span.numel() == 1 and span.is_floating_point() else 0.0)

    def check(self, count: int, refused: int = 0) -> None:
        """As the pool does."""
        self.pooled.check(count, refused)

    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        """A step along the controls and the increments."""
        change, spans = self.pooled.change(held, book), held.get("spans", [])
        if not change:
            return dict(weights), state
        span = max(torch.tensor(spans, dtype=torch.float64).quantile(0.5).item(), 0.0)
        step = {name: span * (turned - state["control"][name].to(turned.dtype)) for name, turned in change.items()}
        share = len(spans) / len(book.clients)
        control = {name: c - share * change[name].to(c.dtype) if name in change else c for name, c in state["control"].items()}
        return stepped(weights, step, self.pooled.rate), {"control": control}
