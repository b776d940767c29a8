"""Clipping, by a fixed norm and by one that follows a quantile."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from loomweight.errors import BadParameter
from loomweight.federate import AdaptiveClip, ClipTo
from loomweight.federate.privacy.clipping import total_norm

numbers = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=5)


def update(first: list[float], second: list[float]) -> dict[str, Tensor]:
    return {"a": torch.tensor(first), "b": torch.tensor([second], dtype=torch.float64), "n": torch.tensor([7])}


@given(numbers, numbers, st.floats(1e-3, 1e3))
def test_the_norm_over_all_tensors_is_bounded_and_the_direction_stays(first: list[float], second: list[float], norm: float) -> None:
    before = update(first, second)
    after = ClipTo(norm).pack(before, None)
    assert total_norm(after) <= norm * (1 + 1e-6)  # float32 entries are rounded after scaling
    assert torch.equal(after["n"], before["n"])
    if total_norm(before) <= norm:
        assert all(torch.equal(after[name], before[name]) for name in before)
    else:
        factor = norm / total_norm(before)
        for name in ("a", "b"):
            # rel 1e-5: two float32 roundings; abs: the smallest subnormal
            assert after[name].flatten().tolist() == pytest.approx((before[name] * factor).flatten().tolist(), rel=1e-5, abs=1e-40)


def test_a_norm_of_nothing_is_refused() -> None:
    with pytest.raises(BadParameter, match="norm is positive, found 0"):
        ClipTo(0.0)


@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.9])
def test_the_clip_comes_to_the_quantile_of_the_norms(quantile: float) -> None:
    norms = np.random.default_rng(0).lognormal(1.0, 0.5, 1000)
    adaptive, clip = AdaptiveClip(start=0.01, quantile=quantile), 0.01
    for _ in range(200):
        clip = adaptive.moved(clip, float(np.mean(norms <= clip)))
    # within 2 %: the empirical distribution of 1000 norms has steps, and the rate of 0.2 leaves the clip moving between two of them
    assert clip == pytest.approx(np.quantile(norms, quantile), rel=0.02)


@given(st.floats(0.1, 5), st.floats(3, 100))
def test_updates_and_count_together_cost_the_multiplier(multiplier: float, deviation: float) -> None:
    own = AdaptiveClip(noise=deviation).multiplier(multiplier, expected=100)
    assert own > multiplier
    # the count has sensitivity 1/2, so its multiplier is 2 deviation; precisions add. rel 1e-9: rounding of the difference
    assert own**-2 + (2 * deviation) ** -2 == pytest.approx(multiplier**-2, rel=1e-9)


def test_a_count_that_costs_too_much_is_refused() -> None:
    with pytest.raises(BadParameter, match=r"has to be above 0\.5"):
        AdaptiveClip(noise=0.4).multiplier(1.0, expected=10)
    with pytest.raises(BadParameter, match="quantile is in"):
        AdaptiveClip(quantile=1.5)
