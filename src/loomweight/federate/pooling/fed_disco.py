"""Clients whose labels are spread as they are in all count more.

Paper: FedDisco: Federated Learning with Discrepancy-Aware Collaboration (2023, https://arxiv.org/abs/2305.19229).

Read with the authors' code (MediaBrain-SJTU/FedDisco, f3ea299), whose divergences of KL sum to 1 over the clients of a round; its defaults are a = 0.5,
b = 0.1. Where no weight would be left, the examples alone count: there the code has no answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from ...errors import BadParameter
from ..plain import Plain, Reply, Tensors
from .aggregate import Aggregate, Book, kept
from .mixing import examples, mixed
from .pool import stepped

Measure = Literal["kl", "l1", "l2", "cosine"]
_TERM = "LabelCounts"


@dataclass(frozen=True)
class FedDisco(Aggregate):
    """w <- w + sum_k p_k D_k with p_k proportional to max(n_k - a d_k + b, 0).

    n_k: the client's part of the examples; d_k: how far its distribution of labels is from the target.

    Args:
        classes: how many labels there are.
        a: how much the discrepancy counts.
        b: what all get.
        measure: kl (divided by its sum over the clients), l1, l2 or cosine (1 - cosine).
        counts: client -> examples of each label, where it is known; otherwise clients send it: `objective=(LabelCounts(classes),)`.
        target: the distribution of labels that is wanted; None is uniform.

    Raises:
        BadParameter: another measure; counts or a target of another length.

    >>> FedDisco(classes=2, a=0.1).discrepancies(torch.tensor([[8.0, 8.0], [9.0, 0.0]]))
    tensor([0., 1.], dtype=torch.float64)
    """

    classes: int
    a: float = 0.5
    b: float = 0.1
    measure: Measure = "kl"
    counts: Mapping[str, Sequence[float]] = field(default_factory=dict)
    target: Sequence[float] | None = None

    def __post_init__(self) -> None:
        lengths = {len(row) for row in (*self.counts.values(), *([self.target] if self.target is not None else []))}
        if self.measure not in _MEASURES or lengths - {self.classes}:
            raise BadParameter(
                f"FedDisco: measure is one of {', '.join(_MEASURES)}, counts and target have length {self.classes}; found {self.measure!r}, {sorted(lengths)}."
            )

    def wrong(self, reply: Reply) -> str | None:
        """The counts of its labels."""
        if reply.client in self.counts:
            return None
        found = reply.extra.get(_TERM, {}).get("counts")
        fits = found is not None and found.shape == (self.classes,) and bool((found >= 0).all()) and bool(found.sum() > 0)
        return None if fits else f"it lacks the counts of {self.classes} labels; add LabelCounts({self.classes}) to the objective, or give them to FedDisco"

    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        """The weighted mean."""
        replies = kept(held)
        counts = torch.stack([self._counts(reply) for reply in replies])
        share = self.shares(examples(replies), counts)
        return stepped(weights, mixed(replies, share.tolist())), state

    def _counts(self, reply: Reply) -> Tensor:
        known = self.counts.get(reply.client)
        return reply.extra[_TERM]["counts"].double() if known is None else torch.tensor(known, dtype=torch.float64)

    def discrepancies(self, counts: Tensor) -> Tensor:
        """d_k of counts [clients, classes]."""
        local = counts.double() / counts.double().sum(1, keepdim=True)
        target = torch.ones(self.classes, dtype=torch.float64) if self.target is None else torch.tensor(self.target, dtype=torch.float64)
        return _MEASURES[self.measure](local, target / target.sum())

    def shares(self, size: Tensor, counts: Tensor) -> Tensor:
        """p_k of parts of the examples, and counts [clients, classes]."""
        raw = (size - self.a * self.discrepancies(counts) + self.b).clamp(min=0)
        return raw / raw.sum() if raw.sum() > 0 else size


def _kl(local: Tensor, target: Tensor) -> Tensor:
    found = torch.special.xlogy(local, local / target).sum(1)
    return found / found.sum() if found.sum() > 0 else found


def _cosine(local: Tensor, target: Tensor) -> Tensor:
    return 1 - local @ target / (local.norm(dim=1) * target.norm())


_MEASURES = {
    "kl": _kl,
    "l1": lambda local, target: (local - target).abs().sum(1),
    "l2": lambda local, target: (local - target).norm(dim=1),
    "cosine": _cosine,
}
