"""Clients of different depth: each tensor is averaged over those that have it, and deep ones take something of shallow ones.

Paper: Internal Cross-layer Gradients for Extending Homogeneity to Heterogeneity in Federated Learning (2023, https://arxiv.org/abs/2308.11464).

Read with the authors' code (ChanYunHin/InCo-Aggregation, b767140). It takes each 3 x 3 kernel of a convolution for itself and each vector of a norm whole;
here a tensor is whole. The code clips what comes of it to +-0.1 in every entry (`clip`). It weighs clients alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...errors import BadParameter
from ...weights.names import listed
from ..plain import Plain, Reply, Tensors
from .aggregate import Aggregate, Book
from .pool import stepped


@dataclass(frozen=True)
class InCo(Aggregate):
    """g_d <- (g_d / |g_d| + c g_s / |g_s|) (|g_d| + |g_s|) / 2 with c = min(|<g_s, g_d>| / |g_s|^2, most), for mean updates g.

    Few clients have the deep tensors, and all have the shallow ones, whose updates are steadier.

    Args:
        has: client -> the names that it has; who is not named has all. Clients get these alone, and in a simulation `World(models=...)` their models.
        mix: deep tensor -> shallow tensor of its shape; without any it is the mean over those that have a tensor.
        most: of c.
        clip: the largest entry of a mixed update; None has no limit.
        counts: weigh clients by their examples.

    Raises:
        BadParameter: a client that has nothing; `most` is negative.

    >>> InCo(mix={"1.weight": "0.weight"}).cross(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 4.0]))
    tensor([3., 0.])
    """

    has: Mapping[str, Sequence[str]] = field(default_factory=dict)
    mix: Mapping[str, str] = field(default_factory=dict)
    most: float = 5.0
    clip: float | None = None
    counts: bool = False
    partial = True

    def __post_init__(self) -> None:
        empty = [client for client, names in self.has.items() if not names]
        if empty or self.most < 0:
            raise BadParameter(f"InCo: every client has some tensors, and most is not negative; found {listed(empty) if empty else self.most}.")

    def start(self, weights: Tensors) -> Plain:
        """Nothing is kept.

        Raises:
            BadParameter: a pair whose tensors are not of one shape, or not there.
        """
        for deep, shallow in self.mix.items():
            if deep not in weights or shallow not in weights or weights[deep].shape != weights[shallow].shape:
                raise BadParameter(f"InCo: {deep!r} and {shallow!r} are to be mixed, and are not two tensors of one shape; there are {listed(weights)}.")
        return {}

    def down(self, weights: Tensors, state: Plain, client: str) -> Tensors:
        """What the client has."""
        names = self.has.get(client)
        return weights if names is None else {name: tensor for name, tensor in weights.items() if name in set(names)}

    def add(self, held: Plain, reply: Reply, weights: Tensors) -> None:
        """Add to the sums: a weight for each tensor."""
        weight = float(reply.weight) if self.counts else 1.0
        total, weighed = held.setdefault("sum", {}), held.setdefault("weight", {})
        for name, tensor in reply.update.items():
            if name not in total:
                total[name] = torch.zeros(tensor.shape, dtype=torch.promote_types(tensor.dtype, torch.float32))
            total[name].add_(tensor, alpha=weight)
            weighed[name] = weighed.get(name, 0.0) + weight

    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        """Means, then the mixture; what nobody sent stays."""
        mean = {name: total / held["weight"][name] for name, total in held["sum"].items() if held["weight"][name] > 0}
        crossed = {deep: self.cross(mean[deep], mean[shallow]) for deep, shallow in self.mix.items() if deep in mean and shallow in mean}
        return stepped(weights, {**mean, **crossed}), state

    def cross(self, deep: Tensor, shallow: Tensor) -> Tensor:
        """The mixture of two mean updates; without a shallow one the deep one stays."""
        large, small = deep.norm(), shallow.norm()
        if large == 0 or small == 0:
            return deep
        share = min(((deep * shallow).sum().abs() / small.square()).item(), self.most)
        found = (deep / large + share * shallow / small) * (large + small) / 2
        return found if self.clip is None else found.clamp(-self.clip, self.clip)
