"""The selection kernel against a stable sort."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from loomweight.edits import select, tally
from loomweight.edits.select import Cut, _ranked, largest, largest_of
from loomweight.errors import BadParameter, NonFinite
from loomweight.weights import Block


def opened(x: Tensor) -> Block:
    return lambda lo, hi: x[lo:hi]


def kept(cut: Cut, x: Tensor, size: int = 1000) -> Tensor:
    return torch.cat([cut.mask(x[lo : lo + size], lo) for lo in range(0, len(x), size)])


def sorted_first(x: Tensor, k: int) -> Tensor:
    """The second formula: the first k of a stable sort, largest first."""
    mask = torch.zeros(len(x), dtype=torch.bool)
    mask[torch.sort(-x, stable=True).indices[:k]] = True
    return mask


KINDS = {
    "continuous": lambda x: x,
    "float64": lambda x: x.double() + 1e-12 * torch.arange(len(x)),
    "negative": lambda x: -(x.abs()),
    "few values": lambda x: (3 * x).round(),
    "two values": lambda x: (x > 1).float(),
    "all zeros": torch.zeros_like,
    "constant": lambda x: torch.full_like(x, -2.5),
    "mostly zeros": lambda x: torch.where(x < 1, 0.0, x),
    "sorted": lambda x: x.sort().values,
    "one outlier": lambda x: torch.ones_like(x).index_fill(0, torch.tensor([len(x) // 2]), 9.0),
    "rows of other sizes": lambda x: x * torch.exp(8 * torch.sin(torch.arange(len(x)) // 500 * 1.7)),
    "infinite": lambda x: torch.where(x > 1, torch.inf, torch.where(x < -1, -torch.inf, x)),
}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=6, deadline=None)
@given(n=st.sampled_from([1, 2, 7, 3000, 70_000, 140_001]), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_the_cut_keeps_what_a_stable_sort_puts_first(kind: str, n: int, share: float, seed: int) -> None:
    x = KINDS[kind](torch.randn(n, generator=torch.Generator().manual_seed(seed)))
    for k in {round(share * n), int((x > 0).sum()), int((x >= 1).sum())}:
        assert torch.equal(kept(largest(opened(x), n, k), x), sorted_first(x, k)), k


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_exact_when_every_bracket_is_bad(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample of one place, a bracket without width, room for almost nothing: slower, never wrong."""
    for name, value in {"_DIRECT": 64, "_RUN": 8, "_FEWEST": 2, "_MOST": 2, "_MARGIN": 0.01}.items():
        monkeypatch.setattr(select, name, value)
    x = KINDS[kind](torch.randn(20_000, generator=torch.Generator().manual_seed(3)))
    for k in (1, 77, 4000, 10_000, 19_999, int((x > 0).sum()), int((x >= 1).sum())):
        assert torch.equal(kept(largest(opened(x), len(x), k), x), sorted_first(x, k)), k


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.sampled_from([0, 1, 5, 900, 60_000]), min_size=1, max_size=5), share=st.floats(0, 1), steps=st.sampled_from([0, 2]))
def test_several_tensors_are_one_long_one(sizes: list[int], share: float, steps: int) -> None:
    x = torch.randn(sum(sizes), generator=torch.Generator().manual_seed(1))
    x = (steps * x).round() if steps else x
    parts = list(x.split(sizes))
    k = round(share * len(x))
    cuts = largest_of([(opened(part), len(part)) for part in parts], k)
    masks = [kept(cut, part) for cut, part in zip(cuts, parts, strict=True) if len(part)]
    assert torch.equal(torch.cat(masks) if masks else torch.zeros(0, dtype=torch.bool), sorted_first(x, k))


@pytest.mark.timeout(20)
def test_the_search_ends_where_a_small_tensor_holds_more_than_its_share() -> None:
    """Of five entries beside 60,000, more than the share of five lie where the threshold is: all are collected then."""
    x = torch.cat([torch.full((5,), 0.5), torch.randn(60_000, generator=torch.Generator().manual_seed(1))])
    parts = [x[:5], x[5:]]
    k = int((x > 0.5).sum()) + 3
    cuts = largest_of([(opened(part), len(part)) for part in parts], k)
    masks = [kept(cut, part) for cut, part in zip(cuts, parts, strict=True)]
    assert torch.equal(torch.cat(masks), sorted_first(x, k))


def test_tensors_of_different_dtypes_compare_as_numbers() -> None:
    coarse = torch.tensor([0.1, 0.3], dtype=torch.float32)
    fine = torch.tensor([0.1, 0.1 + 1e-10, 0.3], dtype=torch.float64)
    numbers = torch.cat([coarse.double(), fine])
    for k in range(6):
        cuts = largest_of([(opened(coarse), 2), (opened(fine), 3)], k)
        assert torch.equal(torch.cat([kept(cuts[0], coarse), kept(cuts[1], fine)]), sorted_first(numbers, k)), k


@pytest.mark.parametrize("k", [-1, 5])
def test_k_out_of_range_is_refused(k: int) -> None:
    with pytest.raises(BadParameter, match=rf"k must be from 0 to 4.*found {k}"):
        largest(opened(torch.ones(4)), 4, k)


@pytest.mark.parametrize("n", [10, 300_000])
@pytest.mark.parametrize("constant", [True, False])
def test_nan_has_no_rank(n: int, constant: bool) -> None:
    x = torch.ones(n) if constant else torch.randn(n, generator=torch.Generator().manual_seed(0))
    x[n - 3] = torch.nan
    with pytest.raises(NonFinite, match=rf"tensor 'w'.*entry {n - 3} .*NaN"):
        largest(opened(x), n, n // 2, "w")


def test_memory_is_bounded_by_thinning() -> None:
    found = tally.tally(opened(torch.arange(300_000.0)), 300_000, (-1.0, 1e9), 1000, "")
    assert sum(found.inside) == 300_000 and found.held <= 1000 and found.stride > 1
    assert sum(map(len, found.pool)) == found.held


@pytest.mark.parametrize("values", ["few", "many", "heavy tails", "one"])
def test_the_rank_in_a_large_pool(values: str) -> None:
    """The histogram finds what sorting finds, whatever the values look like."""
    draws = np.random.default_rng(0)
    n = 100_000
    made = {"few": draws.integers(0, 30, n) * 1e-5 + 1, "many": draws.standard_normal(n), "heavy tails": draws.standard_cauchy(n), "one": np.ones(n)}
    for dtype in (np.float32, np.float64):
        pool = made[values].astype(dtype)
        ordered = np.sort(pool)
        for at in (0, 1, n // 3, n - 2, n - 1):
            assert _ranked(pool, at) == ordered[at]
