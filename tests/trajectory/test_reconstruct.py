"""Averages put together from others: the paper's formulas against integration, its claims, and what the stated error promises."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

import loomweight as lw
from loomweight.errors import BadParameter, TooFewSets
from loomweight.rules import RunningMean
from loomweight.trajectory import Exponential, Moment, Power, Synthesis, reconstruct
from loomweight.trajectory.inner import inner_products
from loomweight.trajectory.moment import shares

LENGTHS = st.floats(0.02, 0.28)
TIMES = st.floats(1.0, 1e9)


def kept(count: int, end: float = 1.0, lengths: tuple[float, ...] = (0.05, 0.10)) -> list[Moment]:
    powers = [Power.of_length(length) for length in lengths]
    return [Moment(power, end * i / count) for i in range(1, count + 1) for power in powers]


def found(count: int, length: float, at: float = 1.0) -> Synthesis:
    return reconstruct(kept(count), Moment(Power.of_length(length), at))


def density(power: Power, read: float, tau: float) -> float:
    return (power.gamma + 1) * (tau / read) ** power.gamma / read if tau <= read else 0.0


@given(LENGTHS, LENGTHS, st.floats(0.2, 5.0), st.floats(0.2, 5.0))
def test_the_closed_form_is_the_integral(one: float, other: float, s: float, t: float) -> None:
    a, b = Power.of_length(one), Power.of_length(other)
    wanted, error = quad(lambda tau: density(a, s, tau) * density(b, t, tau), 0, min(s, t), epsabs=0, epsrel=1e-10, limit=200)
    assert inner_products([Moment(a, s), Moment(b, t)])[0, 1] == pytest.approx(wanted, rel=1e-8, abs=10 * error)


@given(LENGTHS, LENGTHS, TIMES, TIMES)
def test_it_is_symmetric_and_an_inner_product(one: float, other: float, s: float, t: float) -> None:
    gram = inner_products([Moment(Power.of_length(one), s), Moment(Power.of_length(other), t)])
    assert gram[0, 1] == pytest.approx(gram[1, 0], rel=1e-13)
    assert gram[0, 1] ** 2 <= gram[0, 0] * gram[1, 1] * (1 + 1e-12)


def test_cells_give_what_the_closed_form_gives() -> None:
    moments = kept(7)
    with_another = inner_products([*moments, Moment(Exponential(0.1), 1.0)])
    assert with_another[:-1, :-1] == pytest.approx(inner_products(moments), rel=1e-4)


@pytest.mark.parametrize("half_life", [1.0, 30.0, 1e4])
def test_an_exponential_among_powers_is_the_integral(half_life: float) -> None:
    power, rate, end = Power(4.0), np.log(2) / half_life, 1000.0

    def fading(tau: float) -> float:
        return rate * np.exp(-rate * (end - tau)) / -np.expm1(-rate * end)

    near = max(0.0, end - 60 * half_life)
    wanted = [quad(lambda tau, p=p: fading(tau) * p(tau), near, end, epsrel=1e-11, limit=500)[0] for p in (lambda tau: density(power, end, tau), fading)]
    gram = inner_products([Moment(power, end), Moment(Exponential(half_life), end)])
    assert [gram[0, 1], gram[1, 1]] == pytest.approx(wanted, rel=1e-5)


def test_shares_are_the_weights_of_the_mean() -> None:
    sets = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    samples = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0]
    for profile in (Power(2.5), RunningMean(), Exponential(4.0), Exponential(40.0, warm_up=0.3)):
        state = profile.start({"w": sets[0]})
        for point, weight in zip(sets, samples, strict=True):
            state = profile.add(state, {"w": point}, weight)
        mean = torch.tensor(shares(profile, np.cumsum([0.0, *samples]))) @ sets
        assert torch.allclose(profile.value(state)["w"], mean, rtol=1e-12, atol=0)


def test_the_squared_error_falls_with_the_fourth_power_of_the_number_of_snapshots() -> None:
    """Figure 4's caption: O(1 / n^4)."""
    for length in (0.07, 0.13, 0.2):
        squares = [found(count, length).error ** 2 for count in (16, 32, 64)]
        assert 12 < squares[0] / squares[1] < 20 and 12 < squares[1] / squares[2] < 20


def test_reconstruction_is_nearly_perfect_over_the_papers_range() -> None:
    """Appendix C.5: 80 to 256 snapshots of two averages, lengths from 0.015 to 0.25."""
    assert max(found(80, length).error for length in (0.015, 0.03, 0.2, 0.25)) < 0.02


def test_what_the_docstring_of_posthoc_promises_of_fifty_snapshots() -> None:
    assert max(found(50, length).error for length in np.linspace(0.05, 0.2, 7)) < 0.003


@given(st.integers(3, 12), LENGTHS, st.floats(1e-3, 1e9))
def test_the_unit_of_time_changes_nothing(count: int, length: float, unit: float) -> None:
    one, other = found(count, length), reconstruct(kept(count, unit), Moment(Power.of_length(length), unit))
    assert other.weights == pytest.approx(one.weights, rel=1e-6, abs=1e-8)
    assert (other.error, other.worst) == pytest.approx((one.error, one.worst), rel=1e-4, abs=1e-7)


@given(st.integers(2, 10), LENGTHS)
def test_no_other_average_comes_closer(count: int, length: float) -> None:
    """Against the paper's algorithm (its sum brought to 1 as in the authors' code), and against small changes."""
    moments, wanted = kept(count), Moment(Power.of_length(length), 1.0)
    ours = reconstruct(moments, wanted)
    gram = inner_products([*moments, wanted])

    def distance(weights: np.ndarray) -> float:
        both = np.append(weights, -1.0)
        return float(np.sqrt(max(both @ gram @ both / gram[-1, -1], 0)))

    free = np.linalg.solve(gram[:-1, :-1], gram[:-1, -1])
    weights = np.array(ours.weights)
    assert distance(weights) == pytest.approx(ours.error, abs=1e-6)
    assert distance(free) - 1e-7 <= ours.error <= distance(free / free.sum()) + 1e-7
    changes = np.random.default_rng(0).standard_normal((5, len(weights)))
    for change in changes - changes.mean(axis=1, keepdims=True):
        assert distance(weights + 1e-2 * change) >= ours.error - 1e-9


@pytest.mark.parametrize("at", [3, 10])
@pytest.mark.parametrize("length", [0.05, 0.10])
def test_a_snapshot_that_is_wanted_is_taken_alone(length: float, at: int) -> None:
    moments = kept(10, 10.0)
    result = reconstruct(moments, Moment(Power.of_length(length), at))
    (used,) = [moment for moment, weight in zip(moments, result.weights, strict=True) if weight]
    assert used == Moment(Power.of_length(length), at) and result.error == 0 and result.growth == 1


def test_two_snapshots_that_coincide_share_the_weight() -> None:
    once, twice = kept(5), [*kept(5), *kept(5)]
    wanted = Moment(Power.of_length(0.07), 1.0)
    one, two = reconstruct(once, wanted), reconstruct(twice, wanted)
    assert two.error == pytest.approx(one.error, rel=1e-6)
    assert np.reshape(two.weights, (2, -1)).sum(axis=0) == pytest.approx(one.weights, abs=1e-8)


def test_an_exponential_comes_out_of_power_snapshots() -> None:
    assert reconstruct(kept(50, 1e6), Moment(Exponential(1e5), 1e6)).error < 0.01
    assert reconstruct(kept(50, 1e6), Moment(RunningMean(), 1e6)).error > reconstruct(kept(50, 1e6), Moment(Power.of_length(0.2), 1e6)).error


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(0.03, 0.25), st.integers(1, 40), st.floats(0.3, 1.0))
def test_no_entry_is_off_by_more_than_was_stated(seed: int, length: float, batch: int, at: float) -> None:
    """`worst` holds for every run: here one of noise and drift, cut into batches of any size."""
    rng = np.random.default_rng(seed)
    steps, samples = 240 // batch + 10, np.arange(1, 240 // batch + 11) * batch
    run = np.cumsum(rng.standard_normal((steps, 4)), axis=0) + 5 * rng.standard_normal((steps, 4)) + 100
    edges = np.append(0.0, samples)

    def average(moment: Moment) -> np.ndarray:
        until = int(np.searchsorted(edges, moment.samples)) + 1
        return shares(moment.profile, edges[:until]) @ run[: until - 1]

    moments = [Moment(power, float(t)) for t in samples[4::5] for power in (Power.of_length(0.05), Power.of_length(0.10))]
    wanted = Moment(Power.of_length(length), float(samples[int(at * (len(samples) - 1))]))
    result = reconstruct(moments, wanted)
    difference = np.array(result.weights) @ np.stack([average(moment) for moment in moments]) - average(wanted)
    deviation = run.std(axis=0)
    assert (np.abs(difference) <= result.worst * deviation + 1e-9 * np.abs(run).max() * result.growth).all()


def test_bad_input_is_explained() -> None:
    with pytest.raises(TooFewSets, match="no snapshot"):
        reconstruct([], Moment(Power(1), 1))
    with pytest.raises(BadParameter, match="after a positive number of samples, found 0"):
        Moment(Power(1), 0)
    with pytest.raises(BadParameter, match="leave from_start out"):
        Moment(Exponential(5, from_start=True), 10)
    with pytest.raises(BadParameter, match=r"gamma = -0\.7 has no square integral"):
        reconstruct(kept(3), Moment(Power(-0.7), 1.0))
    with pytest.raises(BadParameter, match=r"at most 0\.2887.*found 0\.3"):
        lw.trajectory.Power.of_length(0.3)
