"""The usual graphs."""

from itertools import combinations

import numpy as np

from ...errors import BadParameter
from .graph import Graph, edges_of


def ring(count: int) -> Graph:
    """Each node and its two neighbours.

    >>> round(ring(4).spectral_gap, 4)  # eigenvalues of W: 1, 1/3, 1/3, -1/3
    0.6667
    """
    return Graph(count, edges_of((i, (i + 1) % count) for i in range(count)))


def torus(rows: int, columns: int) -> Graph:
    """A grid whose ends meet; node i is at (i // columns, i % columns).

    >>> len(torus(3, 4).edges)
    24
    """
    places = [(row, column) for row in range(rows) for column in range(columns)]
    right = ((row * columns + column, row * columns + (column + 1) % columns) for row, column in places)
    down = ((row * columns + column, (row + 1) % rows * columns + column) for row, column in places)
    return Graph(rows * columns, edges_of([*right, *down]))


def complete(count: int) -> Graph:
    """Everybody with everybody: one mixing is the mean.

    >>> round(complete(4).spectral_gap, 6)
    1.0
    """
    return Graph(count, tuple(combinations(range(count), 2)))


def random_regular(count: int, degree: int, seed: int = 0) -> Graph:
    """Each node with so many neighbours, at random: a circulant whose edges swap ends many times, until it is connected.

    Args:
        count: of nodes.
        degree: of each, below count; count x degree is even.
        seed: of the swaps.

    Raises:
        BadParameter: there is no such graph.

    >>> {len(neighbours) for neighbours in random_regular(10, 3).neighbours}
    {3}
    """
    if not 1 <= degree < count or count * degree % 2 or (degree == 1 and count > 2):
        raise BadParameter(f"random_regular: no connected graph of {count} nodes has {degree} neighbours each.")
    reach = range(1, degree // 2 + 1)
    pairs = [(i, (i + k) % count) for i in range(count) for k in reach] + [(i, i + count // 2) for i in range(count // 2) if degree % 2]
    edges, draw = list(edges_of(pairs)), np.random.default_rng(seed)
    while True:
        for _ in range(10 * len(edges)):
            _swap(edges, draw)
        try:
            return Graph(count, edges_of(edges))
        except BadParameter:  # in several parts: go on swapping
            continue


def _swap(edges: list[tuple[int, int]], draw: np.random.Generator) -> None:
    """Edges a-b and c-d become a-d and c-b, where these are edges and new."""
    one, other = (int(place) for place in draw.choice(len(edges), 2, replace=False)) if len(edges) > 1 else (0, 0)
    (a, b), (c, d) = edges[one], edges[other][:: int(draw.choice([1, -1]))]
    fresh = [(min(pair), max(pair)) for pair in ((a, d), (c, b))]
    if a != d and c != b and fresh[0] != fresh[1] and not set(fresh) & set(edges):
        edges[one], edges[other] = fresh
