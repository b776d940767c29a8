"""Slerp: constant angular speed, lengths, end points; and its kin that must agree with it."""

from math import acos, pi

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from loomweight import Weights
from loomweight.errors import BadParameter, TooFewSets
from loomweight.rules import Karcher, MultiSlerp, Per, PerVector, Slerp, combine, nuslerp, slerp

from .vectors import combined, states, times_read


def angle(a: Tensor, b: Tensor) -> float:
    return acos(max(-1.0, min(1.0, float(a.double() @ b.double() / (a.double().norm() * b.double().norm())))))


def pair(seed: int, relative: float = 1.0) -> Tensor:
    """Two rows of length 1."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(12, generator=generator, dtype=torch.float64) + relative * torch.randn(2, 12, generator=generator, dtype=torch.float64)
    return rows / rows.norm(dim=1, keepdim=True)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), t=st.floats(0, 1), relative=st.sampled_from([1.0, 0.1, 1e-3]))
def test_it_turns_at_constant_speed_and_keeps_the_length(seed: int, t: float, relative: float) -> None:
    rows = pair(seed, relative)
    out = combined(rows, Slerp(t))
    whole = angle(rows[0], rows[1])
    assert angle(rows[0], out) == pytest.approx(t * whole, abs=1e-4 * whole + 1e-7)
    assert float(out.norm()) == pytest.approx(1, abs=1e-7)


def test_the_ends_are_the_sets_to_the_bit() -> None:
    rows = torch.randn(2, 40, generator=torch.Generator().manual_seed(0))
    assert torch.equal(combined(rows, Slerp(0.0)), rows[0])
    assert torch.equal(combined(rows, Slerp(1.0)), rows[1])
    assert torch.equal(combined(rows[[0, 0]], Slerp(0.3)), rows[0])


def test_by_hand_at_a_right_angle() -> None:
    rows = torch.tensor([[1.0, 0, 0, 0], [0, 2, 0, 0]])
    third = combined(rows, Slerp(1 / 3))
    torch.testing.assert_close(third, torch.tensor([3**0.5 / 2, 1, 0, 0]))


def test_directions_all_but_opposite_give_a_finite_line() -> None:
    rows = torch.randn(1, 5000, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1.0], [-1.1]])
    torch.testing.assert_close(combined(rows, Slerp(0.5)), rows.mean(0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("t", [-0.1, 1.5, float("nan")])
def test_t_must_lie_between_the_sets(t: float) -> None:
    with pytest.raises(BadParameter, match=r"must lie in \[0, 1\]"):
        Slerp(t)


def test_it_takes_two_sets() -> None:
    with pytest.raises(TooFewSets, match="needs at least 2"):
        Slerp(0.5).check(1)
    with pytest.raises(BadParameter, match="interpolates between two sets, got 3; multislerp and karcher take more"):
        Slerp(0.5).check(3)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), t=st.floats(0.05, 0.95))
def test_its_kin_agree_on_two_sets(seed: int, t: float) -> None:
    """On unit vectors the weighted Karcher mean of two is slerp, multi-SLERP is slerp in the middle, nuSLERP is slerp of every tensor."""
    rows = pair(seed)
    torch.testing.assert_close(combined(rows, Karcher((1 - t, t))), combined(rows, Slerp(t)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(combined(rows, MultiSlerp()), combined(rows, Slerp(0.5)), rtol=1e-5, atol=1e-6)
    assert torch.equal(combined(rows, nuslerp((1 - t, t))), combined(rows, Per("tensor", Slerp(t / (1 - t + t)))))


def test_nuslerp_with_a_base_turns_the_differences() -> None:
    base, rows = torch.full((4,), 2.0), torch.tensor([[3.0, 2, 2, 2], [2, 3, 2, 2]])
    out = combined(rows, nuslerp((1.0, 1.0), base=Weights.of(states(base[None])[0])))
    torch.testing.assert_close(out, torch.tensor([2 + 2**-0.5, 2 + 2**-0.5, 2, 2]))
    with pytest.raises(BadParameter, match="takes two weights, got 3"):
        nuslerp((1.0, 2.0, 3.0))


@pytest.mark.parametrize("shape", [(), (7,), (4, 6), (3, 4, 5), (2, 70_000), (70_000, 2), (0, 3)], ids=str)
@pytest.mark.parametrize("axis", [-1, 0])
def test_per_vector_is_the_rule_on_every_row_or_column(shape: tuple[int, ...], axis: int) -> None:
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.randn(shape, generator=generator) for _ in range(2))
    out = combine([{"w": a}, {"w": b}], PerVector(Slerp(0.3), axis=axis))["w"]
    one_vector = len(shape) < 2
    rows = [x.double().reshape(1, -1) if one_vector else x.double().movedim(axis, -1) for x in (a, b)]
    theta = torch.acos((rows[0] * rows[1]).sum(-1) / (rows[0].norm(dim=-1) * rows[1].norm(dim=-1)))[..., None]
    line = theta > pi - 0.01
    mixed = torch.where(line, 0.7 * rows[0] + 0.3 * rows[1], (torch.sin(0.7 * theta) * rows[0] + torch.sin(0.3 * theta) * rows[1]) / torch.sin(theta))
    expected = mixed.reshape(shape) if one_vector else mixed.movedim(-1, axis)
    if shape == () or shape == (0, 3):
        assert out.shape == shape and out.isfinite().all()
    else:
        torch.testing.assert_close(out.double(), expected, rtol=1e-4, atol=1e-5)


def test_every_set_is_read_at_most_twice() -> None:
    rows = torch.randn(2, 900, generator=torch.Generator().manual_seed(0))
    for rule in (slerp(0.3), PerVector(Slerp(0.3)), PerVector(Slerp(0.3), axis=0)):
        assert times_read(states(rows), rule) == [2, 2]
