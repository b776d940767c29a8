"""A cell, a small directed graph with an operation on each edge, as numbers that a predictor can use.

Paper: BANANAS: Bayesian Optimization with Neural Architectures for Neural Architecture Search (2021, https://arxiv.org/abs/1910.11858), which
encodes a cell by its paths from input to output: what lies on no path does nothing, and equal networks get equal codes. BANANAS has a 0 or 1 for each
possible sequence of operations, 5 + 25 + 125 of them in NAS-Bench-201; with 100 labels that
is too many, so `encode` sums paths up in a few counts, which
lose the order of operations on a path.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...errors import BadParameter, unknown
from .predictor import Array


@dataclass(frozen=True)
class Cell:
    """The graph of a cell space: nodes 0 (input) to the largest (output), and for each edge one of the options.

    Args:
        edges: (from, to) with from < to, in the order in which operations are given.
        options: the names of all operations.
        none: the option that cuts an edge; "" where there is none.

    Raises:
        BadParameter: an edge runs backwards or twice, or an option is there twice.

    >>> cell = Cell(((0, 1), (0, 2), (1, 2)), ("none", "skip", "conv"))
    >>> cell.encode(("conv", "skip", "conv"))[cell.columns.index("conv, most on a path")].item()
    2.0
    >>> bool((cell.encode(("conv", "skip", "none")) == cell.encode(("skip", "skip", "none"))).all())  # the first edge leads nowhere
    True
    """

    edges: tuple[tuple[int, int], ...]
    options: tuple[str, ...]
    none: str = "none"

    def __post_init__(self) -> None:
        object.__setattr__(self, "edges", tuple((int(a), int(b)) for a, b in self.edges))
        object.__setattr__(self, "options", tuple(self.options))
        if bad := [edge for edge in self.edges if not 0 <= edge[0] < edge[1]]:
            raise BadParameter(f"edges run from a smaller node to a larger one, found {bad[0]}.")
        if not self.edges or len(set(self.edges)) < len(self.edges) or len(set(self.options)) < len(self.options):
            raise BadParameter("a cell needs edges and options, none of them twice.")

    @cached_property
    def paths(self) -> tuple[tuple[int, ...], ...]:
        """Every way from the input to the output, as positions of edges."""
        return tuple(self._ways(0))

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """What each number of `encode` says."""
        kinds = ("on live edges", "over all paths", "most on a path", "least on a path")
        return (*(f"{option}, {kind}" for kind in kinds for option in self._working), "live paths", "longest path", "shortest path")

    def encode(self, operations: Sequence[str]) -> Array:
        """Counts over live paths, those that no `none` cuts: for each operation how often it stands on edges of them, on all of them together, on the path that
        has it most and least; then their number and the lengths of the longest and the shortest, in edges. All are 0 where the cell is cut through.

        Raises:
            BadParameter: there is not one operation for each edge.
            UnknownName: an operation is none of the options.
        """
        chosen = self._checked(operations)
        live = [path for path in self.paths if all(chosen[edge] != self.none for edge in path)]
        if not live:
            return np.zeros(len(self.columns))
        on_edges = [sum(chosen[edge] == option for edge in {edge for path in live for edge in path}) for option in self._working]
        on_paths = np.array([[sum(chosen[edge] == option for edge in path) for option in self._working] for path in live])
        lengths = [len(path) for path in live]
        return np.array([*on_edges, *on_paths.sum(0), *on_paths.max(0), *on_paths.min(0), len(live), max(lengths), min(lengths)], dtype=np.float64)

    def one_hot(self, operations: Sequence[str]) -> Array:
        """A 1 for the operation of each edge, edges one after the other."""
        return np.array([[float(found == option) for option in self.options] for found in self._checked(operations)]).ravel()

    @property
    def _working(self) -> tuple[str, ...]:
        return tuple(option for option in self.options if option != self.none)

    def _ways(self, node: int) -> Iterator[tuple[int, ...]]:
        if node == max(end for _, end in self.edges):
            yield ()
        for position, (start, end) in enumerate(self.edges):
            if start == node:
                yield from ((position, *rest) for rest in self._ways(end))

    def _checked(self, operations: Sequence[str]) -> tuple[str, ...]:
        if len(operations) != len(self.edges):
            raise BadParameter(f"the cell has {len(self.edges)} edges, found {len(operations)} operations.")
        for operation in operations:
            if operation not in self.options:
                raise unknown("operation", operation, self.options)
        return tuple(operations)
