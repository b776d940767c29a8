"""Graphs: their mixing matrices, gaps by known formulas, and messages."""

from math import cos, pi

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loomweight.errors import BadParameter
from loomweight.federate import Graph, complete, random_regular, ring, torus


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 6).map(lambda half: 2 * half), st.integers(2, 3), st.integers(0, 99))
def test_metropolis_weights_are_doubly_stochastic_and_symmetric(count: int, degree: int, seed: int) -> None:
    graph = random_regular(count, degree, seed)
    matrix = graph.mixing
    assert torch.equal(matrix, matrix.T) and (matrix >= 0).all()
    assert torch.allclose(matrix.sum(0), torch.ones(count, dtype=torch.float64)) and torch.allclose(matrix.sum(1), torch.ones(count, dtype=torch.float64))
    assert {len(neighbours) for neighbours in graph.neighbours} == {degree} and graph == random_regular(count, degree, seed)


def test_gaps_by_known_formulas() -> None:
    """The eigenvalues of a circulant: 1/3 + 2/3 cos(2 pi k / n) on a ring; on a torus 1/5 + 2/5 of the sum of two cosines."""
    for count in (5, 8, 13):
        values = sorted((abs(1 / 3 + 2 / 3 * cos(2 * pi * k / count)) for k in range(count)), reverse=True)
        assert ring(count).spectral_gap == pytest.approx(1 - values[1])
    values = sorted((abs(1 / 5 + 2 / 5 * (cos(2 * pi * i / 4) + cos(2 * pi * j / 5))) for i in range(4) for j in range(5)), reverse=True)
    assert torus(4, 5).spectral_gap == pytest.approx(1 - values[1])
    assert complete(7).spectral_gap == pytest.approx(1.0)


def test_random_graphs_differ_with_the_seed_and_mix_faster_than_a_ring() -> None:
    assert random_regular(30, 4, seed=1) != random_regular(30, 4, seed=2)
    assert random_regular(30, 4, seed=1).spectral_gap > 3 * Graph(30, tuple(sorted({*ring(30).edges}))).spectral_gap


def test_a_given_matrix_comes_back() -> None:
    matrix = torch.tensor([[0.5, 0.3, 0.2], [0.3, 0.7, 0.0], [0.2, 0.0, 0.8]], dtype=torch.float64)
    assert torch.allclose(Graph.of(matrix).mixing, matrix)


def test_what_is_no_graph() -> None:
    with pytest.raises(BadParameter, match=r"not connected; from node 0 only \[0, 1\]"):
        Graph(4, ((0, 1), (2, 3)))
    with pytest.raises(BadParameter, match="once"):
        Graph(2, ((0, 1), (0, 1)))
    with pytest.raises(BadParameter, match="sum to at most 1"):
        Graph(3, ((0, 1), (1, 2)), (0.7, 0.7))
    with pytest.raises(BadParameter, match="symmetric"):
        Graph.of([[0.5, 0.5], [0.4, 0.6]])
    with pytest.raises(BadParameter, match="5 nodes has 3 neighbours"):
        random_regular(5, 3)
