"""A small graph network whose layers are mixtures of aggregators, on dense adjacency matrices.

Paper: Do Not Train It: A Linear Neural Architecture Search of Graph Neural Networks (2023, https://arxiv.org/abs/2305.14065), section 3.
Original code: https://github.com/shipxu123/NAC (nac/model/searchspace/nac_searchspace.py). We differ: four aggregators that a dense matrix
needs no library for, and neither choices of skips nor of how layers are joined.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor, nn

from ..errors import BadParameter, unknown
from ..shapes import Float


def _own(adjacency: Tensor) -> Tensor:
    return torch.eye(len(adjacency)).to(adjacency)


def _gcn(adjacency: Tensor) -> Tensor:
    looped = adjacency + _own(adjacency)
    scale = looped.sum(1).clamp(min=1e-12).rsqrt()
    return scale[:, None] * looped * scale


def _mean(adjacency: Tensor) -> Tensor:
    return adjacency / adjacency.sum(1, keepdim=True).clamp(min=1e-12)


def _sum(adjacency: Tensor) -> Tensor:
    return adjacency + _own(adjacency)


#: name -> matrix that mixes nodes: each node alone (mlp), normalized with itself (gcn), mean of neighbours (sage), sum with itself (gin)
AGGREGATORS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType({"mlp": _own, "gcn": _gcn, "sage": _mean, "gin": _sum})


class GraphMixture(nn.Module):
    """h <- relu(sum over operators k of c_k linear_k(aggregate_k(h))), layer after layer; weights are drawn as torch's layers do.

    Args:
        features: of a node.
        hidden: of a node, in every layer.
        layers: how many.
        operators: aggregators among mlp, gcn, sage, gin.

    Raises:
        UnknownName: there is no such aggregator.
        BadParameter: no layer or operator.

    >>> model = GraphMixture(3, 8, layers=2)
    >>> model(torch.ones(5, 3), torch.ones(5, 5), torch.ones(2, 4)).shape
    torch.Size([5, 8])
    """

    def __init__(self, features: int, hidden: int, layers: int = 2, operators: Sequence[str] = tuple(AGGREGATORS)) -> None:
        super().__init__()
        if layers < 1 or not operators:
            raise BadParameter(f"at least one layer and one operator are needed, found {layers} and {list(operators)}.")
        for name in operators:
            if name not in AGGREGATORS:
                raise unknown("aggregator", name, AGGREGATORS)
        self.layers, self.operators = layers, tuple(operators)
        self.first = nn.Linear(features, hidden)
        self.rest = nn.ModuleList(nn.ModuleDict({name: nn.Linear(hidden, hidden) for name in operators}) for _ in range(layers))

    def forward(
        self, features: Float[Tensor, "nodes features"], adjacency: Float[Tensor, "nodes nodes"], coefficients: Float[Tensor, "layers operators"]
    ) -> Float[Tensor, "nodes hidden"]:
        """Features of every node after the last layer."""
        mixes = {name: AGGREGATORS[name](adjacency) for name in self.operators}
        hidden = self.first(features)
        for layer, chosen in zip(self.rest, coefficients, strict=True):
            parts = [c * layer[name](mixes[name] @ hidden) for c, name in zip(chosen, self.operators, strict=True)]  # type: ignore[index]
            hidden = torch.stack(parts).sum(0).relu()
        return hidden
