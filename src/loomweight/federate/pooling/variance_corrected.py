"""Averages that keep the variance of what is averaged.

Paper: Vanishing Variance Problem in Fully Decentralized Neural-Network Systems (2024, https://arxiv.org/abs/2404.04616).

Read with the authors' code (its class VarianceCorrector, in a stored copy without its repository's name). It adds 1e-4 to both variances before it
divides them, which leaves tensors of small weights nearly uncorrected; here nothing is added, and a tensor without variance is left as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ...errors import BadParameter
from ...weights.names import matches
from ..plain import Plain, Reply, Tensors
from .aggregate import Aggregate, Book
from .mixing import mixed
from .pool import added, averaged

STATISTICS = ("*running_mean", "*running_var")


def variance_corrected(
    sets: Sequence[Tensors], shares: Sequence[float] | None = None, own: Tensors | None = None, keep: float = 0.0, leave: Sequence[str] = STATISTICS
) -> Tensors:
    """The mean of weights, each tensor stretched about its own mean until its variance is the mean of theirs; without a server too.

    Averages of n unrelated models have 1 / n of their variance, and signals fade in them layer after layer.

    Args:
        sets: weights that were received, by name.
        shares: of each in the mean; None is equal ones.
        own: weights of the one who averages.
        keep: how much of its own it keeps, in the mean and in the variance.
        leave: patterns of names that are averaged alone.

    Raises:
        BadParameter: nothing to average, or `keep` without `own`.

    >>> variance_corrected([{"w": torch.tensor([1.0, 3.0, 5.0])}, {"w": torch.tensor([5.0, 3.0, 4.0])}])["w"]  # mean 3, 3, 4.5; variance 0.75 -> 2.5
    tensor([2.5871, 2.5871, 5.3257])
    """
    if not sets or not 0 <= keep <= 1 or (keep > 0 and own is None):
        raise BadParameter(f"variance_corrected: at least one set, keep in [0, 1] and own with it; found {len(sets)} sets and keep {keep}.")
    part = [1 / len(sets)] * len(sets) if shares is None else [share / sum(shares) for share in shares]
    whole = [*sets, own] if own is not None else list(sets)
    part = [share * (1 - keep) for share in part] + ([keep] if own is not None else [])
    mean = mixed([Reply("", 0, one) for one in whole], part)
    target = {name: sum(share * variance(one[name]) for one, share in zip(whole, part, strict=True)) for name in mean}
    return {name: _stretched(name, tensor, target[name], leave).to(sets[0][name].dtype) for name, tensor in mean.items()}


def variance(tensor: Tensor) -> float:
    """Of the entries, 0 for a single one."""
    return float(tensor.double().var()) if tensor.numel() > 1 else 0.0


def _stretched(name: str, tensor: Tensor, target: float, leave: Sequence[str]) -> Tensor:
    now = variance(tensor)
    if now == 0 or any(matches(pattern, name) for pattern in leave):
        return tensor
    middle = tensor.double().mean()
    return ((tensor.double() - middle) * (target / now) ** 0.5 + middle).to(tensor.dtype)


@dataclass(frozen=True)
class VarianceCorrected(Aggregate):
    """The weighted mean of the clients' weights, with the mean of their variances: `variance_corrected` at a server.

    Replies are added up as they come: one model of memory, and a number for each tensor.

    Args:
        counts: weigh clients by their examples.
        leave: patterns of names that are averaged alone.

    >>> VarianceCorrected(counts=False).leave
    ('*running_mean', '*running_var')
    """

    counts: bool = True
    leave: tuple[str, ...] = STATISTICS

    def add(self, held: Plain, reply: Reply, weights: Tensors) -> None:
        """Add to the sum of updates and to that of variances."""
        weight = float(reply.weight) if self.counts else 1.0
        added(held, reply, weight)
        variances = held.setdefault("variances", {})
        for name, change in reply.update.items():
            variances[name] = variances.get(name, 0.0) + weight * variance(weights[name].double() + change.double())

    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        """The stretched mean."""
        moved = {name: weights[name].to(change.dtype) + change for name, change in averaged(held).items()}
        target = {name: held["variances"][name] / held["weights"][name] for name in moved}
        found = {name: _stretched(name, tensor, target[name], self.leave).to(weights[name].dtype) for name, tensor in moved.items()}
        return {**weights, **found}, state
