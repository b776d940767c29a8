"""Mixtures of experts of clients, pooled by the least transport at a server.

Paper: Distributed Learning of Mixtures of Experts (2023, https://arxiv.org/abs/2312.09877).
"""

from dataclasses import dataclass, field

from torch import Tensor

from ...errors import BadParameter
from ...weights.names import listed
from ..plain import Plain, Reply, Tensors
from .aggregate import Aggregate, Book, kept
from .mixture import MixtureOfExperts
from .reduce_mixtures import reduce_mixtures

_NAMES = ("gates", "experts", "log_variances")


@dataclass(frozen=True)
class Transported(Aggregate):
    """The clients' mixtures become one: `reduce_mixtures` of weights that are called gates, experts and log_variances.

    One round suffices, from any starts; the experts of clients need not be in one order, which an average would need.

    Args:
        support: inputs that stand for all, [examples, features].
        prefix: of the three names.

    >>> Transported(torch.zeros(5, 2), prefix="head.").prefix
    'head.'
    """

    support: Tensor = field(repr=False, compare=False)
    prefix: str = ""

    def start(self, weights: Tensors) -> Plain:
        """Nothing is kept.

        Raises:
            BadParameter: the three tensors are not there.
        """
        if set(weights) != {self.prefix + name for name in _NAMES}:
            raise BadParameter(f"Transported: the pooled tensors are {', '.join(self.prefix + name for name in _NAMES)}; found {listed(weights)}.")
        return {}

    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        """The reduced mixture."""
        replies = kept(held)
        found = reduce_mixtures([self._mixture(weights, reply) for reply in replies], self.support, [reply.weight for reply in replies])
        made = dict(zip(_NAMES, (found.gates, found.experts, found.variances.log()), strict=True))
        return {self.prefix + name: tensor.to(weights[self.prefix + name].dtype) for name, tensor in made.items()}, state

    def _mixture(self, weights: Tensors, reply: Reply) -> MixtureOfExperts:
        gates, experts, variances = (weights[self.prefix + name].double() + reply.update[self.prefix + name].double() for name in _NAMES)
        return MixtureOfExperts(gates, experts, variances.exp())
