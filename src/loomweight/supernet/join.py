"""A node of a cell: the sum of what its edges bring."""

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import Any

from torch import nn

from ..errors import BadParameter


class Join(nn.Module):
    """Several edges, each a module with an input of its own, of which a network keeps some: the node is the sum of what they bring.

    Args:
        edges: one for each input; often a `Choice`.
        count: how many of them a network keeps.

    Raises:
        BadParameter: there are fewer edges than are kept.

    >>> import torch
    >>> node = Join([nn.Identity(), nn.Identity(), nn.Identity()], count=2)
    >>> node.kept, node(torch.tensor(1.0), torch.tensor(10.0), torch.tensor(100.0)).item()
    ('1+2', 110.0)
    """

    def __init__(self, edges: Sequence[nn.Module], count: int) -> None:
        super().__init__()
        if not 1 <= count <= len(edges):
            raise BadParameter(f"a node keeps at least one and at most all of its {len(edges)} edges, found count={count}.")
        self.edges = nn.ModuleList(edges)
        self.count = count
        self.kept = self.options[-1]
        self.coefficients: Callable[[], Sequence[Any]] | None = None

    @property
    def options(self) -> tuple[str, ...]:
        """What `kept` may be: every choice of `count` edges, as a word like `0+2`."""
        return tuple(map(word_of, combinations(range(len(self.edges)), self.count)))

    def forward(self, *inputs: Any) -> Any:
        """The sum over the kept edges; where `coefficients` is set, over all whose coefficient is not None, times these."""
        if len(inputs) != len(self.edges):
            raise BadParameter(f"a node with {len(self.edges)} edges takes as many inputs, found {len(inputs)}.")
        if self.coefficients is None:
            parts = [self.edges[i](inputs[i]) for i in map(int, self.kept.split("+"))]
        else:
            factors = self.coefficients()
            parts = [factor * edge(x) for factor, edge, x in zip(factors, self.edges, inputs, strict=True) if factor is not None]
        return sum(parts[1:], parts[0])


def word_of(edges: Iterable[int]) -> str:
    """The word for some edges.

    >>> word_of([0, 2])
    '0+2'
    """
    return "+".join(map(str, edges))
