"""Medians and trimmed means against sorting, replication and the definitions; networks by the zero-one principle."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from loomweight.errors import BadParameter, TooFewSets
from loomweight.rules import Median, TrimmedMean, combine
from loomweight.rules.network import WIDEST, middle_mean, program, pruned, sorting
from loomweight.rules.ranked import masses

seeds = st.integers(0, 2**31)


def rows_of(n: int, seed: int, size: int = 50, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Few different values, so that many are equal."""
    return torch.randint(-4, 5, (n, size), generator=torch.Generator().manual_seed(seed)).to(dtype) / 2


@pytest.mark.parametrize("n", range(1, 11))
def test_a_network_sorts_all_zeros_and_ones_so_it_sorts_everything(n: int) -> None:
    bits = torch.tensor(list(product([0, 1], repeat=n)), dtype=torch.float32).T
    for low, high, *_ in sorting(n):
        bits[[low, high]] = torch.stack([torch.minimum(bits[low], bits[high]), torch.maximum(bits[low], bits[high])])
    assert (bits.diff(dim=0) >= 0).all()


@pytest.mark.parametrize("n", range(1, 10))
def test_pruned_networks_on_all_zeros_and_ones(n: int) -> None:
    """A threshold commutes with minimum and maximum: what holds for zeros and ones holds for all numbers."""
    bits = torch.tensor(list(product([0, 1], repeat=n)), dtype=torch.float64).T
    for first in range(n):
        for end in range(first + 1, n + 1):
            torch.testing.assert_close(middle_mean(bits.unbind(), first, end), bits.sort(dim=0).values[first:end].mean(0))


def test_pruning_pays() -> None:
    """The numbers that network.py states, and that what is dropped was work."""
    assert (len(program(32, 15, 17).steps), 2 * len(sorting(32))) == (258, 382)
    assert len(pruned(9, 4, 5)) < len(sorting(9)) and not pruned(9, 0, 9)
    assert len(program(16, 0, 1).steps) == 15  # a minimum


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, WIDEST + 4), seed=seeds, data=st.data())
def test_middle_means_against_sorting(n: int, seed: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, n - 1))
    end = data.draw(st.integers(first + 1, n))
    stack = torch.randn(n, 30, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    before = stack.clone()
    torch.testing.assert_close(middle_mean(stack.unbind(), first, end), stack.sort(dim=0).values[first:end].mean(0))
    assert stack.equal(before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_are_ordered_by_their_bits(dtype: torch.dtype) -> None:
    """Every finite number of 16 bits, each beside its neighbours and 0: the median is the middle one, widened without rounding."""
    every = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)
    every = every[torch.isfinite(every)]
    stack = torch.stack([every, every.roll(1), torch.zeros_like(every)])
    found = combine([{"w": row} for row in stack], Median()).open("w")(0, len(every))
    assert found.dtype == torch.float32 and found.equal(stack.float().sort(dim=0).values[1])


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 9), seed=seeds, dtype=st.sampled_from([torch.bfloat16, torch.float16]))
def test_halves_are_rounded_once(n: int, seed: int, dtype: torch.dtype) -> None:
    """The result is the float64 result, rounded to the stored dtype."""
    stack = torch.randn(n, 64, generator=torch.Generator().manual_seed(seed)).to(dtype)
    for rule in (Median(), TrimmedMean(f=(n - 1) // 2), Median(weights=tuple(1.0 + i % 3 for i in range(n)))):
        wide = combine([{"w": row.double()} for row in stack], rule)["w"]
        assert combine([{"w": row} for row in stack], rule)["w"].equal(wide.to(dtype))


@settings(max_examples=40, deadline=None)
@given(weights=st.lists(st.integers(0, 4), min_size=1, max_size=7).filter(any), seed=seeds)
def test_a_weight_is_a_set_given_so_many_times(weights: list[int], seed: int) -> None:
    stack = rows_of(len(weights), seed)
    repeated = stack.repeat_interleave(torch.tensor(weights), dim=0)
    expected = torch.from_numpy(np.median(repeated.numpy(), axis=0))
    assert Median(tuple(map(float, weights)))(stack).equal(expected)
    for f in range(len(weights)):
        cut = sum(sorted(weights)[len(weights) - f :])
        if 2 * cut < sum(weights):
            torch.testing.assert_close(TrimmedMean(f, tuple(map(float, weights)))(stack), TrimmedMean(cut)(repeated))


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 9), seed=seeds)
def test_a_weighted_median_has_the_least_weighted_distance(n: int, seed: int) -> None:
    """A second formula: argmin over m of sum_i a_i |x_i - m|."""
    generator = torch.Generator().manual_seed(seed)
    stack = torch.randn(n, 40, generator=generator, dtype=torch.float64)
    weights = 0.1 + torch.rand(n, generator=generator, dtype=torch.float64)

    def cost(middle: torch.Tensor) -> torch.Tensor:
        return (weights[:, None] * (stack - middle).abs()).sum(0)

    found = cost(Median(tuple(weights.tolist()))(stack))
    assert all((found <= cost(row) + 1e-12).all() for row in stack)


@given(scale=st.sampled_from([1e-3, 0.1, 7.0, 1e6]))
@settings(max_examples=8, deadline=None)
def test_only_the_proportion_of_weights_counts(scale: float) -> None:
    stack, weights = rows_of(4, 0), (0.1, 0.2, 0.3, 0.3)
    for rule in (Median, lambda weights: TrimmedMean(1, weights)):
        torch.testing.assert_close(rule(tuple(scale * w for w in weights))(stack), rule(weights)(stack))


def test_sums_of_weights_are_exact() -> None:
    """0.1 + 0.2 is half of 0.6 here, so the median is between the values; in binary fractions it is not."""
    assert 0.1 + 0.2 != 0.6 / 2
    assert Median((0.1, 0.2, 0.3))(torch.tensor([[1.0], [2.0], [4.0]])).item() == 3
    assert masses((0.1, 0.2, 0.3)) == (1, 2, 3)
    tiny, one, three = masses((1e-300, 1.0, 3.0))
    assert tiny == 0 and abs(three - 3 * one) <= 2  # beyond 2^44 they are rounded


@settings(max_examples=30, deadline=None)
@given(n=st.integers(3, 9), seed=seeds, data=st.data())
def test_breakdown_with_weights(n: int, seed: int, data: st.DataObject) -> None:
    """Bad sets below half of the weight, or f of them, leave the result between the good ones; half of the weight moves it."""
    generator = torch.Generator().manual_seed(seed)
    weights = tuple((0.5 + torch.rand(n, generator=generator)).tolist())
    stack = torch.randn(n, 20, generator=generator)
    order = data.draw(st.permutations(range(n)))
    bad = [i for k, i in enumerate(order) if sum(weights[j] for j in order[: k + 1]) < 0.49 * sum(weights)]
    f = (n - 1) // 3
    assume(2 * sum(sorted(weights)[n - f :]) < sum(weights))
    for rule, worst in ((Median(weights), bad), (TrimmedMean(f, weights), order[:f])):
        spoiled = stack.clone()
        spoiled[worst] = data.draw(st.sampled_from([1e30, -1e30]))
        good = stack[[i for i in range(n) if i not in worst]]
        found = rule(spoiled)
        assert (found >= good.amin(0) - 1e-5).all() and (found <= good.amax(0) + 1e-5).all()


@pytest.mark.parametrize("n", range(1, 10))
def test_one_more_bad_set_breaks_them(n: int) -> None:
    stack = torch.zeros(n, 1)
    stack[: (n - 1) // 2 + 1] = 1e30
    assert Median()(stack).item() > 1e29
    stack[1:] = 0
    assert TrimmedMean(f=0)(stack).item() > 1e28
    heavy = (float(n - 1), *[1.0] * (n - 1)) if n > 1 else (1.0,)
    assert Median(weights=heavy)(stack).item() > 1e29  # half of the weight


def test_what_cannot_be_is_said() -> None:
    for make in (lambda: Median(weights=(1, -1)), lambda: Median(weights=(0, 0)), lambda: Median(weights=(1, float("inf"))), lambda: TrimmedMean(f=-1)):
        with pytest.raises(BadParameter, match="at least 0"):
            make()
    with pytest.raises(TooFewSets, match=r"needs at least 5 weight sets \(2 f \+ 1\), got 4"):
        TrimmedMean(f=2).check(4)
    with pytest.raises(TooFewSets, match="1 heaviest sets hold half of the weight"):
        TrimmedMean(f=1, weights=(3, 1, 1)).check(3)
    with pytest.raises(TooFewSets, match="has 2 weights for 3 weight sets"):
        Median(weights=(1, 1)).check(3)
