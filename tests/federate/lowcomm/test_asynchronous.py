"""Delayed Nesterov, Dynamic Local Updates, and the two in virtual time."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loomweight.errors import BadParameter, NamesDiffer, NonFinite, ShapesDiffer
from loomweight.federate.lowcomm import AsyncLocalSGD, DelayedNesterov, local_steps

from .workers import batch, plain


def gradients(number, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [{"w": torch.randn(5, generator=generator), "b": torch.randn(2, generator=generator)} for _ in range(number)]


WEIGHTS = gradients(1, seed=9)[0]


def pushed(server, given_):
    state = server.start(WEIGHTS)
    for gradient in given_:
        server.push(state, gradient)
    return state


def nesterov(means, lr, momentum):
    """torch's SGD with Nesterov momentum along given gradients."""
    parameters = {name: torch.nn.Parameter(tensor.clone()) for name, tensor in WEIGHTS.items()}
    optimizer = torch.optim.SGD(parameters.values(), lr=lr, momentum=momentum, nesterov=True)
    for mean in means:
        for name, parameter in parameters.items():
            parameter.grad = mean[name].clone()
        optimizer.step()
    return parameters


@pytest.mark.parametrize(("every", "c"), [(1, 0.0), (4, 0.0), (4, 0.1), (4, 0.25)])
def test_over_n_arrivals_it_is_one_nesterov_step_along_their_mean(every, c) -> None:
    """With c > 0 from the second time on the in-between steps use the old momentum: m of the time before, c N of the whole."""
    given_ = gradients(3 * every)
    means = [{name: torch.stack([g[name] for g in given_[i : i + every]]).mean(0) for name in WEIGHTS} for i in range(0, len(given_), every)]
    found = pushed(DelayedNesterov(0.3, 0.9, every, c), given_)
    if c == 0:
        for name, parameter in nesterov(means, 0.3, 0.9).items():
            torch.testing.assert_close(found["weights"][name], parameter.detach(), rtol=1e-5, atol=1e-6)  # another order of sums
        return
    for name, weights in WEIGHTS.items():
        m, w = torch.zeros_like(weights, dtype=torch.float64), weights.double()
        for mean in means:
            w = w - 0.3 * (c * (every - 1)) * 0.9 * m
            m = 0.9 * m + mean[name].double()
            w = w - 0.3 * ((1 - c * (every - 1)) * 0.9 * m + mean[name].double())
        torch.testing.assert_close(found["weights"][name].double(), w, rtol=1e-5, atol=1e-6)  # float32 against float64


def test_a_stale_momentum_is_not_added_up() -> None:
    """The paper's point: one gradient told by four workers moves a plain asynchronous Nesterov server further, four times over."""
    same = [{"w": torch.ones(5), "b": torch.ones(2)}] * 4
    delayed, plain_ = (WEIGHTS["w"] - pushed(server, same)["weights"]["w"] for server in (DelayedNesterov(1.0, 0.9, 4), DelayedNesterov(0.25, 0.9, 1)))
    torch.testing.assert_close(delayed, torch.full((5,), 1.9))
    assert (plain_ > 1.5 * delayed).all()


def test_the_state_is_plain_and_goes_on_exactly() -> None:
    server, given_ = DelayedNesterov(0.3, 0.9, 4, 0.1), gradients(11)
    whole = pushed(server, given_)
    half = copy.deepcopy(pushed(server, given_[:6]))
    for gradient in given_[6:]:
        server.push(half, gradient)
    assert all(half["weights"][name].equal(whole["weights"][name]) for name in WEIGHTS) and half["arrivals"] == 11


def test_what_does_not_fit_is_refused_and_changes_nothing() -> None:
    server = DelayedNesterov()
    state = server.start(WEIGHTS)
    before = copy.deepcopy(state)
    bad = {"w": torch.ones(5), "b": torch.tensor([1.0, float("nan")])}
    for gradient, error, match in [
        ({"w": torch.ones(5)}, NamesDiffer, "does not fit the weights"),
        ({**WEIGHTS, "w": torch.ones(1)}, ShapesDiffer, r"tensor 'w' has shape \(1,\)"),
        (bad, NonFinite, "tensor 'b' of the pseudo-gradient holds NaN or Inf"),
    ]:
        with pytest.raises(error, match=match):
            server.push(state, gradient)
    assert all(state[key][name].equal(before[key][name]) for key in ("weights", "momentum", "sum") for name in WEIGHTS)
    for out_of_range in ({"lr": 0.0}, {"momentum": 1.0}, {"every": 0}, {"every": 4, "c": 0.3}):
        with pytest.raises(BadParameter, match="0 <= c <= 1 / every"):
            DelayedNesterov(**out_of_range)
    with pytest.raises(BadParameter, match="n hold integers"):
        server.start({"n": torch.tensor([1])})


@settings(max_examples=30)
@given(st.dictionaries(st.text(max_size=3), st.floats(0.01, 100), min_size=1, max_size=6), st.integers(1, 500), st.floats(0.1, 10))
def test_dynamic_local_updates(speeds, most, unit) -> None:
    steps = local_steps(speeds, most)
    fastest = max(speeds.values())
    assert max(steps.values()) == most
    assert all(1 <= steps[name] <= max(1, most * (speed / fastest)) for name, speed in speeds.items())
    power = 2.0 ** round(unit)  # an exact factor
    assert steps == local_steps({name: speed * power for name, speed in speeds.items()}, most)


def test_all_workers_finish_together_under_dynamic_local_updates() -> None:
    speeds = {"a": 8.0, "b": 4.0, "c": 1.0}
    times = {name: steps / speeds[name] for name, steps in local_steps(speeds, 80).items()}
    assert set(times.values()) == {10.0}
    for bad in ({}, {"a": 0.0}, {"a": float("nan")}):
        with pytest.raises(BadParameter, match="positive numbers, of at least one worker"):
            local_steps(bad, 5)


def learner(worker, weights, steps, visit):
    """Local SGD steps of a small network on this worker's data."""
    model = plain()
    model.load_state_dict(weights)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    for step in range(steps):
        optimizer.zero_grad()
        x, y = batch(ord(worker), 100 * visit + step)
        (model(x) - y).square().mean().backward()
        optimizer.step()
    return {name: weights[name] - tensor for name, tensor in model.state_dict().items()}


def loss(weights):
    model = plain()
    model.load_state_dict(weights)
    with torch.no_grad():
        return float(sum((model(x) - y).square().mean() for x, y in (batch(9, step, 64) for step in range(4))))


SPEEDS = {"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0}


def test_a_run_in_virtual_time_is_deterministic_ordered_and_learns() -> None:
    runs = [AsyncLocalSGD(DelayedNesterov(0.7, 0.9, 4), SPEEDS, steps=8) for _ in range(2)]
    first, second = (run.run(plain().state_dict(), learner, arrivals=40) for run in runs)
    assert all(first[name].equal(second[name]) for name in first) and runs[0].arrivals == runs[1].arrivals
    times = [one.time for one in runs[0].arrivals]
    assert times == sorted(times) and len(times) == 40
    assert {one.worker: one.steps for one in runs[0].arrivals} == {"a": 8, "b": 6, "c": 4, "d": 2}
    assert loss(first) < 0.5 * loss(plain().state_dict())


def test_dynamic_updates_and_grace_make_gradients_less_stale() -> None:
    def staleness(**settings):
        run = AsyncLocalSGD(DelayedNesterov(0.1, 0.0, 1), SPEEDS, steps=8, **settings)
        run.run({"w": torch.zeros(1)}, lambda worker, weights, steps, visit: {"w": torch.ones(1)}, arrivals=60)
        return max(one.staleness for one in run.arrivals)

    assert staleness(dynamic=True) == 3 < staleness(dynamic=False)
    assert staleness(dynamic=False, grace=8.0) == 3
    with pytest.raises(BadParameter, match="grace is a number of seconds"):
        AsyncLocalSGD(DelayedNesterov(), SPEEDS, 8, grace=-1.0)


def test_with_equal_speeds_and_one_momentum_in_n_it_is_diloco() -> None:
    """Four equal workers that start together: DelayedNesterov(every=4) takes DiLoCo's outer steps, whose every round begins after all have come."""
    run = AsyncLocalSGD(DelayedNesterov(0.7, 0.9, 4), dict.fromkeys("abcd", 1.0), steps=3)
    found = run.run(plain().state_dict(), learner, arrivals=12)
    old = {name: torch.nn.Parameter(tensor.clone()) for name, tensor in plain().state_dict().items()}
    outer = torch.optim.SGD(old.values(), lr=0.7, momentum=0.9, nesterov=True)
    for visit in range(3):
        deltas = [learner(worker, {name: value.detach().clone() for name, value in old.items()}, 3, visit) for worker in "abcd"]
        for name, value in old.items():
            value.grad = torch.stack([delta[name] for delta in deltas]).mean(0)
        outer.step()
    for name, value in old.items():
        torch.testing.assert_close(found[name], value.detach(), rtol=1e-4, atol=1e-5)  # nine steps of AdamW amplify another order of sums
