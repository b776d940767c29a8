"""What is spent: against the exact Gaussian mechanism, against zero-concentrated privacy, and in its order."""

from math import exp, inf, log, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import norm

from loomweight.errors import BadParameter
from loomweight.federate import epsilon, multiplier_for

DELTA = 1e-5
multipliers = st.floats(0.3, 30)


def exact(deviation: float, delta: float) -> float:
    """Of one Gaussian release of sensitivity 1, by the formula of Balle and Wang (2018), theorem 8."""

    def over(e: float) -> float:
        return norm.cdf(0.5 / deviation - e * deviation) - exp(e + norm.logcdf(-0.5 / deviation - e * deviation)) - delta

    return brentq(over, 0, 5000)


def concentrated(multiplier: float, rounds: int) -> float:
    """rho = rounds / (2 multiplier^2), epsilon = rho + 2 sqrt(rho log(1 / delta)): Bun and Steinke (2016), proposition 1.3."""
    rho = rounds / (2 * multiplier**2)
    return rho + 2 * sqrt(rho * log(1 / DELTA))


@given(multipliers, st.integers(1, 200))
def test_rounds_of_noise_are_one_release_between_the_exact_cost_and_that_of_concentrated_privacy(multiplier: float, rounds: int) -> None:
    found = epsilon([(multiplier, 1.0, rounds)], DELTA)
    # 1.001: orders lie on a grid, so the best one is missed by a little; the closed form minimises over all
    assert exact(multiplier / sqrt(rounds), DELTA) <= found <= 1.001 * concentrated(multiplier, rounds)


@given(multipliers, st.integers(1, 50), st.floats(1.01, 3))
def test_more_noise_costs_less_and_more_rounds_cost_more(multiplier: float, rounds: int, more: float) -> None:
    found = epsilon([(multiplier, 1.0, rounds)], DELTA)
    assert epsilon([(multiplier * more, 1.0, rounds)], DELTA) < found < epsilon([(multiplier, 1.0, rounds + 1)], DELTA)
    assert epsilon([(multiplier, 1.0, rounds)], DELTA / 10) > found


def test_sampling_costs_less_and_a_rate_of_one_is_no_sampling() -> None:
    costs = [epsilon([(1.0, rate, 20)], DELTA) for rate in (0.01, 0.1, 0.5, 1.0)]
    assert costs == sorted(costs) and costs[0] < costs[-1] / 10


def test_releases_add_up() -> None:
    # rel 1e-12: sums of floats in another order
    assert epsilon([(2.0, 1.0, 3), (2.0, 1.0, 4)], DELTA) == pytest.approx(epsilon([(2.0, 1.0, 7)], DELTA), rel=1e-12)
    assert epsilon([(2.0, 1.0, 3), (1.0, 1.0, 1)], DELTA) > epsilon([(2.0, 1.0, 4)], DELTA)
    assert epsilon([], DELTA) == 0.0
    assert epsilon([(0.0, 1.0, 1)], DELTA) == inf


@pytest.mark.parametrize(("target", "rounds", "rate"), [(0.5, 1, 1.0), (8.0, 100, 1.0), (2.0, 50, 0.2)])
def test_the_multiplier_for_a_budget_spends_it_and_less_noise_exceeds_it(target: float, rounds: int, rate: float) -> None:
    found = multiplier_for(target, DELTA, rounds, rate)
    assert epsilon([(found, rate, rounds)], DELTA) <= target < epsilon([(0.998 * found, rate, rounds)], DELTA)


@pytest.mark.parametrize(
    ("releases", "delta"), [([(1.0, 1.0, 1)], 0.0), ([(-1.0, 1.0, 1)], DELTA), ([(1.0, 2.0, 1)], DELTA), ([(float("nan"), 1.0, 1)], DELTA)]
)
def test_numbers_out_of_range_are_refused(releases: list[tuple[float, float, int]], delta: float) -> None:
    with pytest.raises(BadParameter, match="delta and rates are within 0 and 1"):
        epsilon(releases, delta)
    with pytest.raises(BadParameter, match="epsilon is positive"):
        multiplier_for(-1.0, DELTA, 1)
