"""The flag aggregator against explicit subspaces."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from loomweight.errors import BadParameter
from loomweight.rules import FlagAggregator

from .vectors import combined, near


def objective(basis: Tensor, rows: Tensor, pairs: float) -> float:
    """The paper's, on vectors; `basis` has orthonormal columns."""

    def missed(vectors: Tensor) -> Tensor:
        units = vectors / vectors.norm(dim=1, keepdim=True)
        return (1 - (units @ basis).square().sum(1)).clamp(min=0).sqrt().sum()

    n = len(rows)
    apart = (rows[:, None] - rows[None])[~torch.eye(n, dtype=torch.bool)]
    return float(missed(rows) + pairs / (n - 1) * missed(apart))


def subspace(rows: Tensor, rank: int, pairs: float) -> Tensor:
    """The basis that the rule found: the mean of projections of all sets, seen for many combinations of sets, spans it."""
    moved = []
    for i in range(len(rows)):
        flipped = rows.clone()
        flipped[i] *= -1  # the objective without pairs does not see signs, so the subspace stays
        moved.append(combined(rows, FlagAggregator(rank, pairs)) - combined(flipped, FlagAggregator(rank, pairs)))
    return torch.linalg.svd(torch.stack(moved).T.double(), full_matrices=False)[0][:, :rank]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), rank=st.integers(1, 3))
def test_no_small_turn_of_the_subspace_lowers_the_objective(seed: int, rank: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(8, generator=generator, dtype=torch.float64) + 0.5 * torch.randn(6, 8, generator=generator, dtype=torch.float64)
    basis = subspace(rows, rank, 0.0)
    best = objective(basis, rows, 0.0)
    for _ in range(20):
        turned = torch.linalg.qr(basis + 0.02 * torch.randn(8, rank, generator=generator, dtype=torch.float64))[0]
        assert objective(turned, rows, 0.0) >= best - 1e-3


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), pairs=st.sampled_from([0.0, 2.0]))
def test_it_is_a_mean_of_projections(seed: int, pairs: float) -> None:
    """Projecting twice is projecting once, and a full basis projects nothing away."""
    rows = torch.randn(5, 9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    torch.testing.assert_close(combined(rows, FlagAggregator(5, pairs)), rows.mean(0), rtol=1e-5, atol=1e-6)
    out = combined(rows, FlagAggregator(1, pairs))
    assert float(out.norm()) <= float(rows.mean(0).norm()) * (1 + 1e-6)


def test_the_pairs_decide_what_the_sets_do_not() -> None:
    """Sets that agree but for their differences along one axis: with the pairs' weight, that axis is what is kept."""
    rows = torch.tensor([[1.0, 0, 0.9, 0], [1, 0, -0.9, 0], [1, 0.0, 0.7, 0], [1, 0, -0.8, 0]])
    plain, paired = (combined(rows, FlagAggregator(1, pairs)) for pairs in (0.0, 50.0))
    assert abs(float(plain[0])) > abs(float(plain[2]))
    assert abs(float(paired[0])) < 0.01


def test_outliers_of_any_size_are_projected_away_when_lengths_are_levelled() -> None:
    generator = torch.Generator().manual_seed(0)
    for size in (10.0, 1e6):
        good = torch.randn(40, generator=generator) + 0.3 * torch.randn(7, 40, generator=generator)
        rows = torch.cat([good, size * torch.randn(2, 40, generator=generator)])
        out = combined(rows, FlagAggregator(1, lengths="median"))
        assert float(out @ good.mean(0) / (out.norm() * good.mean(0).norm())) > 0.98
        assert float(out.norm()) <= float(rows.norm(dim=1).median()) * (1 + 1e-5)


def test_it_ignores_nothing_but_numbers() -> None:
    assert torch.equal(combined(torch.zeros(3, 4), FlagAggregator()), torch.zeros(4))
    rows = near(0, 3, 8, 1e-3)
    rows[1] = 0
    assert combined(rows, FlagAggregator(2, pairs=1.0)).isfinite().all()
    for bad in ({"rank": 0}, {"pairs": -1.0}, {"iterations": 0}):
        with pytest.raises(BadParameter, match="must be at least 1, pairs not negative"):
            FlagAggregator(**bad)
