"""Who talks to whom, and with what weight."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ...errors import BadParameter


@dataclass(frozen=True)
class Graph:
    """An undirected graph of nodes 0 ... n - 1, with the weights by which neighbours mix.

    Without weights of its own an edge has its Metropolis weight, 1 / (1 + max(degree_i, degree_j)); a node keeps what its edges leave of 1. The matrix
    W of these weights is symmetric and doubly stochastic, so mixing keeps the mean of the nodes, and their distance from it shrinks each time by at
    least |lambda_2|, the second largest absolute eigenvalue of W.

    Args:
        count: n.
        edges: pairs i < j, each once.
        weights: of the edges, in their order; None is Metropolis.

    Raises:
        BadParameter: an edge that is none, or twice; weights that are negative or leave a node less than nothing; a graph in several parts.

    >>> Graph(3, ((0, 1), (1, 2))).mixing[1].tolist()  # its neighbours with 1/3 each, and itself
    [0.3333333333333333, 0.33333333333333337, 0.3333333333333333]
    """

    count: int
    edges: tuple[tuple[int, int], ...]
    weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if any(not 0 <= i < j < self.count for i, j in self.edges) or len(set(self.edges)) < len(self.edges):
            raise BadParameter(f"Graph: each edge is a pair i < j below {self.count}, once; found {self.edges}.")
        if self.weights is not None and len(self.weights) != len(self.edges):
            raise BadParameter(f"Graph: {len(self.edges)} edges and {len(self.weights)} weights.")
        if self.count < 1 or len(self._reached()) < self.count:
            raise BadParameter(f"Graph: the {self.count} nodes are not connected; from node 0 only {sorted(self._reached())} are reached.")
        if min([*(self.weights or ()), self.mixing.diagonal().min().item()]) < -1e-12:
            raise BadParameter("Graph: weights are not negative, and those of a node's edges sum to at most 1.")

    @cached_property
    def neighbours(self) -> tuple[tuple[int, ...], ...]:
        """Of each node, in their order."""
        found: list[list[int]] = [[] for _ in range(self.count)]
        for i, j in self.edges:
            found[i].append(j)
            found[j].append(i)
        return tuple(tuple(sorted(of_one)) for of_one in found)

    @cached_property
    def mixing(self) -> Tensor:
        """W, n x n in float64: how much of node j goes into node i."""
        matrix = torch.zeros(self.count, self.count, dtype=torch.float64)
        for number, (i, j) in enumerate(self.edges):
            metropolis = 1 / (1 + max(len(self.neighbours[i]), len(self.neighbours[j])))
            matrix[i, j] = matrix[j, i] = metropolis if self.weights is None else self.weights[number]
        return matrix + torch.diag(1 - matrix.sum(1))

    @property
    def spectral_gap(self) -> float:
        """1 - |lambda_2|: 1 where one round is enough, near 0 where news travels slowly."""
        values = torch.linalg.eigvalsh(self.mixing).abs().sort(descending=True).values
        return float(1 - values[1]) if self.count > 1 else 1.0

    def _reached(self) -> set[int]:
        reached, fresh = {0}, [0]
        while fresh:
            fresh = [j for i in fresh for j in self.neighbours[i] if j not in reached]
            reached.update(fresh)
        return reached

    @staticmethod
    def of(matrix: Sequence[Sequence[float]] | Tensor) -> "Graph":
        """The graph of a given mixing matrix: symmetric, with rows that sum to 1.

        >>> Graph.of([[0.5, 0.5], [0.5, 0.5]])
        Graph(count=2, edges=((0, 1),), weights=(0.5,))
        """
        given = torch.as_tensor(matrix, dtype=torch.float64)
        if given.dim() != 2 or not torch.allclose(given, given.T, atol=1e-9) or not torch.allclose(given.sum(1), torch.ones(len(given), dtype=torch.float64)):
            raise BadParameter("Graph.of: a mixing matrix is symmetric and its rows sum to 1.")
        edges = tuple((i, j) for i in range(len(given)) for j in range(i + 1, len(given)) if given[i, j] != 0)
        return Graph(len(given), edges, tuple(given[i, j].item() for i, j in edges))


def edges_of(pairs: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Each pair once, the smaller first."""
    return tuple(sorted({(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]}))
