"""A profile pushed one set at a time is `Mean` with weights that a second formula gives, however the run is cut into steps."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import loomweight as lw
from loomweight.errors import BadParameter
from loomweight.rules import Mean, RunningMean, combine
from loomweight.trajectory import EMA, Average, Clock, Exponential, Power, half_life_of

from ..strategies import weight_sets

SAMPLES = st.lists(st.floats(0.5, 200), min_size=7, max_size=7)


def exponential(half_life):
    """Integral of 2^(-(T - t) / half_life) over the samples of each step."""
    return lambda ends, last: [2 ** (-(last - b) / half_life) - 2 ** (-(last - a) / half_life) for a, b in ends]


def power(gamma):
    """Integral of t^gamma over the samples of each step."""
    return lambda ends, last: [(b / last) ** (gamma + 1) - (a / last) ** (gamma + 1) for a, b in ends]


PROFILES = [
    (RunningMean(), lambda ends, last: [b - a for a, b in ends]),
    (Exponential(3.0), exponential(3.0)),
    (Exponential(150.0), exponential(150.0)),
    (Exponential(1e9), exponential(1e9)),
    (Power(-0.5), power(-0.5)),
    (Power(0.0), power(0.0)),
    (Power.of_length(0.05), power(16.97)),
]


def intervals(samples):
    ends = [sum(samples[: i + 1]) for i in range(len(samples))]
    return list(zip([0.0, *ends[:-1]], ends, strict=True)), ends[-1]


def folded(profile, sets, samples):
    state = profile.start(sets[0])
    for pushed, new in zip(sets, samples, strict=True):
        state = profile.add(state, pushed, new)
    return profile.value(state)


def close(found, expected):
    for name in expected:
        scale = float(expected[name].abs().max()) + 1e-3
        torch.testing.assert_close(found[name], expected[name], rtol=2e-5, atol=2e-5 * scale)


@pytest.mark.parametrize(("profile", "weights_of"), PROFILES, ids=lambda each: str(each) if isinstance(each, lw.rules.RunningAverage) else "")
@settings(max_examples=8, deadline=None)
@given(sets=weight_sets(1, 7), samples=SAMPLES)
def test_it_is_the_mean_with_the_weights_of_a_second_formula(profile, weights_of, sets, samples) -> None:
    samples = samples[: len(sets)]
    weights = weights_of(*intervals(samples))
    if profile == Power.of_length(0.05):
        weights = power(profile.gamma)(*intervals(samples))
    close(folded(profile, sets, samples), combine(sets, Mean(tuple(weights))))


@pytest.mark.parametrize("profile", [profile for profile, _ in PROFILES] + [Exponential(40.0, from_start=True)], ids=str)
@settings(max_examples=8, deadline=None)
@given(sets=weight_sets(1, 5), samples=SAMPLES, data=st.data())
def test_cutting_a_step_changes_nothing(profile, sets, samples, data) -> None:
    """The same weights for 32 + 32 samples are those weights for 64."""
    samples = samples[: len(sets)]
    cut_sets, cut_samples = [], []
    for pushed, new in zip(sets, samples, strict=True):
        share = data.draw(st.floats(0.05, 0.95))
        cut_sets += [pushed, pushed]
        cut_samples += [new * share, new * (1 - share)]
    close(folded(profile, cut_sets, cut_samples), folded(profile, sets, samples))


def test_a_warm_up_is_not_free_of_the_cut() -> None:
    """The twin: a half-life that grows with what was seen before a step depends on the steps."""
    profile = Exponential(1e6, warm_up=0.05)
    sets = [{"w": torch.tensor([x])} for x in (0.0, 1.0)]
    whole, cut = folded(profile, sets, [64, 64]), folded(profile, [*sets, sets[1]], [64, 32, 32])
    assert abs(whole["w"] - cut["w"]).item() > 1e-6


@settings(max_examples=8, deadline=None)
@given(sets=weight_sets(1, 7), samples=SAMPLES, share=st.floats(0.01, 3))
def test_a_warm_up_bounds_the_half_life_by_a_share_of_what_was_seen(sets, samples, share) -> None:
    """EDM's rule, said once more: beta = 0.5^(batch / min(half-life, seen * share)), seen before the batch."""
    expected, seen = {name: torch.zeros_like(tensor, dtype=torch.float64) for name, tensor in sets[0].items()}, 0.0
    samples = samples[: len(sets)]
    for pushed, new in zip(sets, samples, strict=True):
        beta = 0.5 ** (new / max(min(100.0, seen * share), 1e-8))
        expected = {name: beta * before + (1 - beta) * pushed[name].double() for name, before in expected.items()}
        seen += new
    close(folded(Exponential(100.0, warm_up=share), sets, samples), {name: tensor.float() for name, tensor in expected.items()})


@pytest.mark.parametrize("corrected", [False, True])
def test_the_textbook_recursion(corrected) -> None:
    """v <- rho v + (1 - rho) w from zero or from the start, in float64; corrected by 1 - rho^t, as Adam's moments are."""
    points = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    model = nn.Linear(3, 1, bias=False).double()
    start = model.weight.detach().clone()
    ema = EMA(model, decay=0.9, from_start=not corrected)
    held = torch.zeros(3, dtype=torch.float64) if corrected else start[0]
    for t, point in enumerate(points, 1):
        model.weight.data.copy_(point)
        ema.update()
        held = 0.9 * held + 0.1 * point
        expected = held / (1 - 0.9**t) if corrected else held
        torch.testing.assert_close(ema.value()["weight"][0], expected, rtol=1e-12, atol=1e-14)


def test_half_life_and_decay_are_one_thing_in_two_words() -> None:
    half_life = half_life_of(0.999, 256)
    assert Exponential(half_life, from_start=True).rate(1e9, 256) == pytest.approx(0.001, rel=1e-12)  # float64
    assert 0.999 ** (half_life / 256) == pytest.approx(0.5)
    assert EMA(nn.Linear(1, 1), decay=0.99).profile == Exponential(half_life_of(0.99))


@pytest.mark.parametrize("gamma", [0.0, 6.94, 16.97])
def test_power_is_the_papers_beta_for_steps_of_one(gamma) -> None:
    """EDM2, equation 2 of section 3.1: beta_t = (1 - 1 / t)^(gamma + 1), and the first step takes the weights as they are."""
    profile = Power(gamma)
    for t in (1, 2, 3, 10, 1000, 10**6):
        assert 1 - profile.rate(seen=t - 1, new=1) == pytest.approx((1 - 1 / t) ** (gamma + 1), rel=1e-12)  # float64


@settings(max_examples=30, deadline=None)
@given(length=st.floats(0.005, 12**-0.5))
def test_the_length_is_the_spread_of_the_profile(length) -> None:
    """By quadrature of (gamma + 1) t^gamma on [0, 1], which the closed form does not know of."""
    gamma = Power.of_length(length).gamma
    t = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    weight = t**gamma
    mean = (weight * t).sum() / weight.sum()
    spread = ((weight * (t - mean) ** 2).sum() / weight.sum()).sqrt().item()
    assert spread == pytest.approx(length, rel=1e-4)  # what the quadrature reaches with so many points
    assert Power(gamma).length == pytest.approx(length, rel=1e-6)


def test_the_papers_table_of_lengths() -> None:
    """EDM2: 0.05 and 0.10, the two lengths that are tracked, are gamma = 16.97 and 6.94."""
    assert [round(Power.of_length(length).gamma, 2) for length in (0.05, 0.10)] == [16.97, 6.94]


@settings(deadline=None)
@given(seen=st.floats(1e-30, 1e12), new=st.floats(1e-6, 1e9), gamma=st.floats(-0.99, 100))
def test_shares_are_shares_whatever_the_sizes(seen, new, gamma) -> None:
    for profile in (Power(gamma), Exponential(1000.0), Exponential(1000.0, warm_up=0.05), RunningMean()):
        assert 0 < profile.rate(seen, new) <= 1
        assert profile.rate(0.0, new) == 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Exponential(0), "half_life must be a positive number of samples, found 0"),
        (lambda: Exponential(-1.0), "found -1"),
        (lambda: Exponential(math.nan), "found nan"),
        (lambda: Exponential(math.inf), "found inf"),
        (lambda: Exponential(1, warm_up=0.0), "warm_up must be a positive share of the samples seen, found 0"),
        (lambda: Exponential(1, warm_up=0.1, from_start=True), "warm_up and from_start both say how the average begins"),
        (lambda: EMA(nn.Linear(1, 1)), "give half_life, or decay; found half_life=None, decay=None"),
        (lambda: EMA(nn.Linear(1, 1), half_life=0), "half_life must be a positive number of samples, found 0"),
        (lambda: EMA(nn.Linear(1, 1), 3, decay=0.9), "give half_life, or decay; found half_life=3, decay=0.9"),
        (lambda: EMA(nn.Linear(1, 1), decay=1.0), "decay lies between 0 and 1, .* found 1.0"),
        (lambda: EMA(nn.Linear(1, 1), decay=0.0), "found 0.0"),
        (lambda: EMA(nn.Linear(1, 1), decay=math.nan), "found nan"),
        (lambda: half_life_of(0.9, 0), "stands for a positive number of samples; found 0.9 for 0"),
        (lambda: Power(-1), "gamma must be a finite number above -1, found -1"),
        (lambda: Power(math.nan), "found nan"),
        (lambda: Power.of_length(0.3), r"at most 0.2887 \(the plain mean\) of the run, found 0.3"),
        (lambda: Power.of_length(0.0), "found 0.0"),
        (lambda: Power.of_length(math.nan), "found nan"),
        (lambda: Clock(start=-1), "start must be a finite number of samples, at least 0, found -1"),
        (lambda: Clock(every=math.nan), "every must be a finite number of samples, at least 0, found nan"),
        (lambda: Clock.of(1.0, 0, 100), r"a share of it in \[0, 1\), and the length is positive; found 1.0 of 100"),
        (lambda: Clock.of(0.5, 0, 0), "found 0.5 of 0"),
        (lambda: lw.trajectory.LAWA(nn.Linear(1, 1), k=0), "at least 1, found 0"),
    ],
)
def test_settings_that_make_no_sense(make, words) -> None:
    with pytest.raises(BadParameter, match=words):
        make()


@settings(deadline=None)
@given(steps=st.lists(st.floats(0.5, 100), min_size=1, max_size=30), start=st.floats(0, 300), every=st.floats(0, 200))
def test_a_clock_loses_no_samples(steps, start, every) -> None:
    """What was handed over and what is pending is all that came after the start; no point but the last is early."""
    clock, handed = Clock(start, every), []
    for samples in steps:
        clock, due = clock.after(samples)
        handed += [due] if due else []
    assert sum(handed) + clock.pending == pytest.approx(max(0.0, sum(steps) - start), abs=1e-6)
    assert all(due >= every for due in handed)


def test_the_live_average_sees_the_points_of_its_clock() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = Average(model, RunningMean(), Clock(start=10, every=4))
    taken = []
    for w in range(1, 9):
        model.weight.data.fill_(w)
        taken.append(average.update(samples=3))
    assert taken == [False, False, False, False, True, False, True, False]
    assert average.value()["weight"].item() == pytest.approx((5 * 5 + 6 * 7) / 11)
