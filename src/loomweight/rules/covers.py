"""Which vertices of a graph to take out so that no edge is left (vertex covers of bounded size), by a bounded search tree.

A vertex is in the cover, or all its neighbours are. Branching on the vertex with most edges finds a cover of at most f vertices, or that
there is none, in a number of steps that grows with f and not with the number of subsets; a graph with more edges than f vertices
can touch is given up at once.

Paper: Parameterized Complexity (1999, https://doi.org/10.1007/978-1-4612-0515-9).
"""

from collections.abc import Iterator

Graph = dict[int, set[int]]


class TooManySteps(Exception):
    """The search tree grew beyond its limit."""


class Covers:
    """Vertex covers of graphs, within a limit on all steps together.

    >>> Covers(1000).smaller({0: {1, 2}, 1: {0}, 2: {0}}, 1), sorted(map(sorted, Covers(1000).all({0: {1}, 1: {0}}, 1)))
    (True, [[0], [1]])
    """

    def __init__(self, limit: int) -> None:
        self._left = limit

    def smaller(self, graph: Graph, size: int) -> bool:
        """Whether `size` vertices, or fewer, touch all edges."""
        return next(self.all(graph, size), None) is not None

    def all(self, graph: Graph, size: int) -> Iterator[frozenset[int]]:
        """Every cover of at most `size` vertices that no vertex can be left out of; a few others may be among them, and none twice in a row."""
        self._left -= 1
        if self._left < 0:
            raise TooManySteps
        edges = sum(map(len, graph.values())) // 2
        if not edges:
            yield frozenset()
            return
        busiest = max(graph, key=lambda vertex: len(graph[vertex]))
        if edges > size * len(graph[busiest]):
            return
        for taken in ({busiest}, graph[busiest]):
            if len(taken) <= size:
                yield from (frozenset(taken) | rest for rest in self.all(_without(graph, taken), size - len(taken)))


def _without(graph: Graph, taken: set[int]) -> Graph:
    """The graph without these vertices, and without vertices that have no edge."""
    smaller = {vertex: others - taken for vertex, others in graph.items() if vertex not in taken}
    return {vertex: others for vertex, others in smaller.items() if others}
