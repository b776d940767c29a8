"""Random edits: what they promise on average, and that draws depend on seed, set, name and place alone."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loomweight.edits import Drop, Edit, KeepNorm, MagnitudeDrop
from loomweight.edits.draws import Draws
from loomweight.edits.ranks import levels, midranks, outrank
from loomweight.engines import Inline, Threads
from loomweight.errors import BadParameter
from loomweight.weights import BLOCK, Weights

N = BLOCK + 70_000  # a chunk and a bit


def kept(edit: Edit, name: str = "w", n: int = N) -> torch.Tensor:
    return edit.apply(torch.ones(n), name) != 0


def plausible(count: int, n: int, p: float) -> bool:
    """Within five standard deviations of a binomial count."""
    return abs(count - n * p) <= 5 * math.sqrt(n * p * (1 - p)) + 1e-9


@pytest.mark.parametrize("p", [0.0, 1e-4, 0.1, 1 / 3, 0.5, 0.9, 1 - 1e-4, 1.0])
def test_true_with_probability_p(p: float) -> None:
    drawn = Draws(("test", 0), N).below(p, 0, N)
    assert plausible(int(drawn.sum()), N, p)


def test_numbers_are_uniform_below_the_first_byte_too() -> None:
    """p inside one step of the first eight bits: only the further bits can tell."""
    low, high = 100 / 256, 101 / 256
    _, at, u = Draws(("test", 1), 1 << 22).between(low, high, 0, 1 << 22)
    assert plausible(len(at), 1 << 22, 1 / 256)
    assert plausible(int((u < low + 0.25 / 256).sum()), len(u), 0.25)
    assert len(np.unique(u)) == len(u) and ((u >= low) & (u < high)).all()


def test_a_larger_probability_keeps_what_a_smaller_one_kept() -> None:
    small, large = kept(Drop(0.7, seed=5)), kept(Drop(0.4, seed=5))
    assert (large | ~small).all() and large.sum() > small.sum()


@settings(max_examples=20)
@given(lo=st.integers(0, N), length=st.integers(0, N))
def test_any_part_alone_is_that_part_of_the_whole(lo: int, length: int) -> None:
    draws, hi = Draws(("test", 2), N), min(lo + length, N)
    below, at, u = draws.between(0.3, 0.5, 0, N)
    some, places, values = draws.between(0.3, 0.5, lo, hi)
    inside = (at >= lo) & (at < hi)
    assert (some == below[lo:hi]).all() and (places + lo == at[inside]).all() and (values == u[inside]).all()


@pytest.mark.parametrize("edit", [Drop(0.5), MagnitudeDrop(0.5, 0.0)])
def test_other_names_seeds_and_sets_draw_independently(edit: Edit) -> None:
    first = kept(edit)
    others = [kept(edit, "v"), kept(edit.on_stream(1)), kept(edit.on_stream(2)), kept(type(edit)(0.5, seed=1))]  # type: ignore[call-arg]
    masks = [first, *others]
    for i, a in enumerate(masks):
        assert all(plausible(int((a == b).sum()), N, 0.5) for b in masks[:i])
    assert plausible(int((first[1:] == first[:-1]).sum()), N - 1, 0.5)
    assert plausible(int((first[BLOCK:] == first[: N - BLOCK]).sum()), N - BLOCK, 0.5)
    assert torch.equal(first, kept(edit.on_stream(0)))


def test_two_kinds_of_edit_with_one_seed_draw_independently() -> None:
    assert plausible(int((kept(Drop(0.5)) == kept(MagnitudeDrop(0.5, 0.0))).sum()), N, 0.5)


def test_threads_change_nothing() -> None:
    weights = Drop(0.5)(Weights.of({str(i): torch.ones(70_000) for i in range(4)}))
    results = []
    for engine in (Inline(), Threads(2)):
        with engine:
            results.append(torch.stack(list(engine.map(weights.__getitem__, weights.names))))
    assert torch.equal(*results)


def test_the_stream_of_bits_is_pinned() -> None:
    """Another platform or numpy must draw the same: the first bytes of SFC64, seeded with a digest of the key."""
    below = Draws(("Drop", 0, 0, "w"), 64).below(0.5, 0, 64)
    source = np.random.SFC64(int.from_bytes(__import__("hashlib").blake2b(b"('Drop', 0, 0, 'w', 0)", digest_size=16).digest(), "little"))
    assert (below == np.array([(word >> (8 * i)) & 255 < 128 for word in source.random_raw(8).tolist() for i in range(8)])).all()


@pytest.mark.parametrize("edit", [Drop(0.75), MagnitudeDrop(0.4, 0.3)])
def test_the_expectation_is_the_tensor(edit: Edit) -> None:
    """The mean over seeds approaches x at the rate that independent draws give."""
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    trials = 1000
    mean = sum(type(edit)(*values(edit), seed=seed).apply(x, "w").double() for seed in range(trials)) / trials  # type: ignore[call-arg]
    smallest = 0.25 if isinstance(edit, Drop) else 0.1
    assert (mean - x).abs().le(5 * x.abs() * math.sqrt((1 / smallest - 1) / trials)).all()


def values(edit: Edit) -> tuple[float, ...]:
    return (edit.rate,) if isinstance(edit, Drop) else (edit.density, edit.epsilon)  # type: ignore[attr-defined]


def test_keep_probability_grows_with_magnitude_and_averages_density() -> None:
    rows, columns, density, epsilon = 4000, 9, 0.4, 0.3
    x = torch.arange(1, columns + 1).float().repeat(rows, 1)
    rates = (MagnitudeDrop(density, epsilon, rescale=False).apply(x, "w") != 0).double().mean(0)
    expected = torch.linspace(density - epsilon, density + epsilon, columns).double()
    assert all(plausible(int(rate * rows), rows, p) for rate, p in zip(rates.tolist(), expected.tolist(), strict=True))
    assert abs(rates.mean() - density) < 0.01


def test_equal_magnitudes_share_the_mean_probability() -> None:
    x = torch.tensor([1.0, -2.0, 2.0, 2.0, 5.0]).repeat(8000, 1)
    for rescale in (False, True):
        rates = (MagnitudeDrop(0.5, 0.4, rescale=rescale).apply(x, "w") != 0).double().mean(0)
        assert all(plausible(int(rate * 8000), 8000, p) for rate, p in zip(rates.tolist(), [0.1, 0.5, 0.5, 0.5, 0.9], strict=True))


@settings(max_examples=30)
@given(rows=st.integers(1, 9), columns=st.sampled_from([1, 2, 7, 50]), coarse=st.booleans(), seed=st.integers(0, 999))
def test_the_fast_mask_is_the_mask_of_ranks(rows: int, columns: int, coarse: bool, seed: int) -> None:
    """Without rescaling nothing is ranked; the same entries must be kept as where all is."""
    x = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    x = (3 * x).round() if coarse else x
    plain, ranked = (MagnitudeDrop(0.5, 0.4, rescale=rescale, seed=seed).apply(x, "w") for rescale in (False, True))
    assert torch.equal(plain != 0, ranked != 0)
    assert torch.equal(plain, torch.where(plain != 0, x, 0.0))


@given(data=st.data(), rows=st.integers(1, 3), columns=st.integers(2, 8))
def test_ranks_against_counting(data: st.DataObject, rows: int, columns: int) -> None:
    entry = st.integers(0, 4)
    x = np.array(data.draw(st.lists(st.lists(entry, min_size=columns, max_size=columns), min_size=rows, max_size=rows)), np.float64)
    counted = np.array([[((row < v).sum() + (row <= v).sum() - 1) / 2 for v in row] for row in x])
    assert (midranks(x) == counted).all()
    places = np.flatnonzero(x)
    limits = np.array([data.draw(st.floats(0, columns - 1, exclude_max=True)) for _ in places])
    assert (outrank(x, places, limits) == (counted.reshape(-1)[places] > limits)).all()


def hard_rows(kind: str, columns: int, dtype: type) -> np.ndarray:
    """Rows whose bins are narrow, full of ties, nearly all in one, or none at all."""
    noise = np.abs(np.random.default_rng(0).standard_normal((16, columns)))
    made = {"smooth": noise, "ties": np.round(3 * noise) / 8, "outlier": noise * np.where(np.arange(columns) == 3, 1e9, 1)}
    made |= {"sparse": noise * (noise > 2), "zeros": 0 * noise, "tiny": 1e-40 * noise, "inf": noise + np.where(noise == noise.max(), np.inf, 0)}
    return made[kind].astype(dtype)


KINDS = ["smooth", "ties", "outlier", "sparse", "zeros", "tiny", "inf"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("columns", [2, 9, 700])
def test_levels_tell_the_ranks(kind: str, columns: int, dtype: type) -> None:
    """What lies above a level outranks the limit, what lies below does not; the level is a value of the row, so little equals it."""
    rows = hard_rows(kind, columns, dtype)
    limits = np.concatenate([[-0.5, 0.0, columns - 1.5, columns - 1.0, columns + 3.0], np.random.default_rng(2).uniform(0, columns - 1, 20)])
    found, ranks = levels(np.sort(rows, axis=1), limits), midranks(rows)
    for limit, level in zip(limits, found.T[:, :, None], strict=True):
        assert (ranks[rows > level] > limit).all() and (ranks[rows < level] <= limit).all()
        assert (rows == level).any(1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_by_bins_is_the_mask_of_ranks_on_hard_rows(kind: str) -> None:
    x = torch.from_numpy(hard_rows(kind, 700, np.float32))
    plain, ranked = (MagnitudeDrop(0.5, 0.3, rescale=rescale).apply(x, "w") for rescale in (False, True))
    assert torch.equal(plain != 0, ranked != 0)


@pytest.mark.parametrize("count", [3, 600])  # few are counted, many looked up in sorted rows
def test_outranking_is_comparing_ranks(count: int) -> None:
    rows, chosen = hard_rows("ties", 700, np.float32), np.random.default_rng(1)
    at = np.unique(chosen.choice(np.flatnonzero(rows), count))
    limits = chosen.integers(0, 2 * 699, len(at)) / 2  # often exactly a rank
    assert (outrank(rows, at, limits) == (midranks(rows).reshape(-1)[at] > limits)).all()


@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("edit", [Drop(0.4, rescale=False), MagnitudeDrop(0.5, 0.3, rescale=False), MagnitudeDrop(0.5, 0.0, rescale=False)])
def test_keeping_the_norm_keeps_what_the_edit_keeps(edit: Edit, norm: str) -> None:
    """KeepNorm passes once and remembers bits; the edit alone draws again."""
    x = torch.randn(301, 997, generator=torch.Generator().manual_seed(0))  # rows end inside blocks and bytes
    plain, found = edit.apply(x, "w"), KeepNorm(edit, norm).apply(x, "w")  # type: ignore[arg-type]
    p = float(norm[1])
    factor = float(x.double().norm(p) / plain.double().norm(p))
    torch.testing.assert_close(found, plain * factor, rtol=1e-6, atol=0)


@pytest.mark.parametrize("rate", [1.7, -0.5, math.nan])
def test_rates_outside_0_to_1_are_refused(rate: float) -> None:
    for make in (Drop, MagnitudeDrop):
        with pytest.raises(BadParameter, match=rf"must be from 0 to 1, found {rate}"):
            make(rate)


def test_probabilities_outside_0_to_1_are_refused() -> None:
    with pytest.raises(BadParameter, match=r"density - epsilon and density \+ epsilon must be from 0 to 1, found 0.8 and 1.1"):
        MagnitudeDrop(0.95, 0.15)
    with pytest.raises(BadParameter, match=r"epsilon must be from 0 to 0.5, found nan"):
        MagnitudeDrop(0.5, math.nan)
    assert MagnitudeDrop(1, 0.15) and MagnitudeDrop(0.9, 0.1)
