"""Clients near the mean count more, and those that fit their data too well less.

Paper: Inverse Distance Aggregation for Federated Learning with Non-IID Data (2020, https://arxiv.org/abs/2008.07665).

No code of the authors was found. Distances are Euclidean, and without the accuracies it is `Pool(InverseDistance())`; an accuracy divides the weight, and
counts at least as a floor, which is our reading of "inverse training accuracy".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..plain import Plain, Reply, Tensors
from .aggregate import Aggregate, Book, kept
from .mixing import examples, inner_products, mixed
from .pool import stepped

_TERM = "TrainingAccuracy"
_AT = 1e-12  # a distance below this part of the largest one counts as none


@dataclass(frozen=True)
class IDA(Aggregate):
    """w <- w + sum_k a_k D_k with a_k proportional to n_k / (|D_k - mean| max(accuracy_k, floor)).

    A client whose model fits its own data perfectly has less to say than one that is still learning. It is no defence: see `rules.InverseDistance`.

    Args:
        counts: with the examples n_k, in the mean too; otherwise clients are alike.
        accuracy: with the accuracies on the clients' own data, which they send: `objective=(TrainingAccuracy(),)`.
        floor: the smallest accuracy that counts as such; 1 / classes is chance.

    >>> IDA(accuracy=True).shares(torch.tensor([0.5, 0.5]), torch.tensor([1.0, 1.0]), torch.tensor([0.25, 0.75]))
    tensor([0.7500, 0.2500])
    """

    counts: bool = True
    accuracy: bool = False
    floor: float = 0.1

    def wrong(self, reply: Reply) -> str | None:
        """Its accuracy."""
        found = reply.extra.get(_TERM, {}).get("accuracy")
        if not self.accuracy or (found is not None and found.numel() == 1 and 0 <= found.item() <= 1):
            return None
        return "it lacks its accuracy, between 0 and 1; add TrainingAccuracy() to the objective"

    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        """The weighted mean."""
        replies = kept(held)
        size = examples(replies, counts=self.counts)
        fits = torch.tensor([reply.extra[_TERM]["accuracy"].item() if self.accuracy else 1.0 for reply in replies], dtype=torch.float64)
        share = self.shares(size, _from_mean(replies, size), fits)
        return stepped(weights, mixed(replies, share.tolist())), state

    def shares(self, size: Tensor, away: Tensor, fits: Tensor) -> Tensor:
        """a_k of parts of the examples, distances and accuracies; who is the mean itself shares everything, the limit of the formula."""
        raw = size / (fits.clamp(min=self.floor) if self.accuracy else 1.0)
        at = (away <= _AT * away.max()) & (size > 0)
        raw = raw * at if at.any() else raw / away.clip(min=_AT * away.max())
        return raw / raw.sum()


def _from_mean(replies: Sequence[Reply], size: Tensor) -> Tensor:
    mean = mixed(replies, size.tolist())
    apart = [Reply("", 0, {name: reply.update[name].to(mean[name].dtype) - mean[name] for name in mean}) for reply in replies]
    return torch.stack([inner_products([one])[0, 0] for one in apart]).sqrt()
