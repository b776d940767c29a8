"""Quantise: levels, errors, and what shares a step."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loomweight.edits import Quantise, quantise
from loomweight.edits.sign import Sign
from loomweight.errors import BadParameter

entries = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=20)


def steps(x: torch.Tensor, bits: int, symmetric: bool) -> float:
    """The step of one unit: the second formula."""
    if symmetric:
        return float(x.abs().max()) / (2 ** (bits - 1) - 1)
    return float(x.max().clamp(min=0) - x.min().clamp(max=0)) / (2**bits - 1)


@given(values=entries, bits=st.integers(2, 10), symmetric=st.booleans())
def test_at_most_half_a_step_off_and_on_few_levels(values: list[float], bits: int, symmetric: bool) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    found, step = Quantise(bits, "tensor", symmetric).apply(x), steps(x, bits, symmetric)
    assert (found - x).abs().max() <= step / 2 * (1 + 1e-9)
    if step > 1e-300:
        levels = found / step
        torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-6)
        assert levels.max() - levels.min() <= 2**bits - 1 + 1e-6


@given(values=entries, bits=st.integers(2, 10))
def test_done_twice_is_done_once_and_extremes_stay(values: list[float], bits: int) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    once = Quantise(bits).apply(x)
    torch.testing.assert_close(Quantise(bits).apply(once), once, rtol=1e-12, atol=0)
    torch.testing.assert_close(once.abs().max(), x.abs().max(), rtol=1e-12, atol=0)


@given(rows=st.integers(1, 4), columns=st.integers(1, 9), group=st.integers(1, 10), bits=st.integers(2, 8), symmetric=st.booleans())
def test_channels_and_groups_are_quantised_alone(rows: int, columns: int, group: int, bits: int, symmetric: bool) -> None:
    x = torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows * 10 + columns))
    alone = Quantise(bits, "tensor", symmetric)
    by_channel = torch.stack([alone.apply(row) for row in x])
    by_group = torch.stack([torch.cat([alone.apply(part) for part in row.split(group)]) for row in x])
    assert torch.equal(Quantise(bits, "channel", symmetric).apply(x), by_channel)
    assert torch.equal(Quantise(bits, group, symmetric).apply(x), by_group)


@pytest.mark.parametrize("by", ["tensor", "channel"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_rows_longer_than_a_block_give_the_same(by: str, symmetric: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(3, 50, generator=torch.Generator().manual_seed(2))
    whole = Quantise(4, by, symmetric).apply(x)  # type: ignore[arg-type]
    monkeypatch.setattr(quantise, "BLOCK", 16)
    assert torch.equal(Quantise(4, by, symmetric).apply(x), whole)  # type: ignore[arg-type]


def test_more_bits_are_nearer() -> None:
    x = torch.randn(1000, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    errors = [float((Quantise(bits).apply(x) - x).norm()) for bits in (2, 4, 8, 16)]
    assert errors == sorted(errors, reverse=True)
    assert errors[2] == pytest.approx(steps(x, 8, True) * (1000 / 12) ** 0.5, rel=0.1)  # the error is uniform in a step


def test_sign_has_the_best_single_magnitude() -> None:
    """Closed form of argmin_a |x - a sign(x)|^2: the mean of |x|."""
    x = torch.randn(200, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    best = (x - Sign().apply(x)).norm()
    for a in torch.linspace(0, 2, 81).tolist():
        assert (x - Sign(a).apply(x)).norm() >= best


def test_parameters() -> None:
    for bits in (1, 17):
        with pytest.raises(BadParameter, match=rf"bits must be from 2 to 16, found {bits}"):
            Quantise(bits)
    with pytest.raises(BadParameter, match="at least 1 entry, found by=0"):
        Quantise(8, 0)
    with pytest.raises(BadParameter, match="scale must be from 0 to inf, found -1"):
        Sign(-1.0)
