"""Low rank against the singular value decomposition; the nearest matrix, and how near."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loomweight.edits import LowRank
from loomweight.errors import BadParameter

SHAPES = [(7, 4), (4, 7), (5, 5), (3, 2, 4), (6, 1), (1, 6)]


def matrix(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=30)
@given(shape=st.sampled_from(SHAPES), rank=st.integers(1, 8), seed=st.integers(0, 99))
def test_it_is_the_truncated_decomposition(shape: tuple[int, ...], rank: int, seed: int) -> None:
    x = matrix(shape, seed)
    u, s, v = torch.linalg.svd(x.reshape(shape[0], -1), full_matrices=False)
    found = LowRank(rank=rank).apply(x)
    torch.testing.assert_close(found, ((u[:, :rank] * s[:rank]) @ v[:rank]).reshape(shape), rtol=0, atol=1e-7)
    torch.testing.assert_close((x - found).square().sum(), s[rank:].square().sum(), rtol=1e-6, atol=1e-12)  # Eckart and Young


@settings(max_examples=30)
@given(shape=st.sampled_from(SHAPES), energy=st.sampled_from([0.0, 0.1, 0.37, 0.5, 0.82, 0.99, 1.0]), seed=st.integers(0, 99))
def test_energy_picks_the_smallest_rank_that_keeps_it(shape: tuple[int, ...], energy: float, seed: int) -> None:
    x = matrix(shape, seed)
    squares = torch.linalg.svdvals(x.reshape(shape[0], -1)).square()
    kept = float(LowRank(energy=energy).apply(x).square().sum() / x.square().sum())
    shares = [0.0, *(squares.cumsum(0) / squares.sum()).tolist()]
    assert kept == pytest.approx(min(share for share in shares if share >= energy - 1e-12), abs=1e-7)


def test_float32_loses_nothing_that_float32_holds() -> None:
    x = (matrix((300, 40), 0) * torch.logspace(0, -6, 40)).float()
    u, s, v = torch.linalg.svd(x.double(), full_matrices=False)
    error = LowRank(rank=20).apply(x).double() - (u[:, :20] * s[:20]) @ v[:20]
    assert error.abs().max() <= 1e-6 * s[0]


def test_vectors_scalars_and_full_rank_stay() -> None:
    for x in (torch.randn(5, generator=torch.Generator().manual_seed(0)), torch.tensor(2.0), torch.eye(3)):
        assert torch.equal(LowRank(rank=3).apply(x), x)
    assert not LowRank(energy=0).apply(torch.eye(3)).any()
    assert LowRank(rank=1).apply(torch.zeros(0, 3)).shape == (0, 3)


def test_parameters() -> None:
    with pytest.raises(BadParameter, match="give either rank or energy, found rank=None, energy=None"):
        LowRank()
    with pytest.raises(BadParameter, match=r"give either rank or energy, found rank=1, energy=0\.5"):
        LowRank(rank=1, energy=0.5)
    with pytest.raises(BadParameter, match="rank must be at least 1, found 0"):
        LowRank(rank=0)
    for energy in (1.5, -0.1, math.nan):
        with pytest.raises(BadParameter, match="energy must be from 0 to 1"):
            LowRank(energy=energy)
