"""FGE: the rate's triangle, points in its middles, predictions averaged; and that a vote beats its members."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import loomweight as lw
from loomweight.trajectory import FGE, cyclical
from loomweight.trajectory.fge import Minima


@given(st.floats(0, 1e6), st.sampled_from([4.0, 300.0, 1000.0]), st.sampled_from([0.002, 0.5, 1.0]))
def test_the_rate_against_the_two_branches_of_the_paper(samples: float, length: float, low: float) -> None:
    t = (samples % length) / length
    wanted = (1 - 2 * t) * 1.0 + 2 * t * low if t <= 0.5 else (2 - 2 * t) * low + (2 * t - 1) * 1.0
    assert cyclical(length, low)(samples) == pytest.approx(wanted, abs=1e-12)
    assert cyclical(length, low, start=50)(samples + 50) == pytest.approx(wanted, abs=1e-6)
    assert cyclical(length, low, start=50)(min(samples, 50)) == 1.0


def test_it_drives_a_scheduler() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.05)
    factor = cyclical(length=4 * 32, low=0.1)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(step * 32))
    rates = []
    for _ in range(5):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.05, 0.0275, 0.005, 0.0275, 0.05])


@given(st.lists(st.sampled_from([1.0, 16.0, 33.0, 64.0]), min_size=1, max_size=60), st.sampled_from([0.0, 90.0]))
def test_points_are_the_first_steps_past_the_middles_and_never_drift(steps: list[float], start: float) -> None:
    clock, run, middles = Minima(start=start, every=100), 0.0, iter([start + 50 + 100 * n for n in range(60)])
    following = next(middles)
    for samples in steps:
        clock, due = clock.after(samples)  # type: ignore[assignment]
        run += samples
        assert bool(due) == (run >= following)
        while run >= following:
            following = next(middles)


def trained(seed: int, rate: bool = True) -> tuple[FGE, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1200, 8, generator=generator)
    y = ((x[:, 0] * x[:, 1] + 0.8 * torch.randn(1200, generator=generator)) > 0).long()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(8, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    factor = cyclical(length=20 * 16, low=0.05, start=80 * 16)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(step * 16) if rate else 1.0)
    fge = FGE(model, length=20 * 16, start=80 * 16)
    for _ in range(200):
        batch = torch.randint(200, (16,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()
        schedule.step()
        fge.update(samples=16)
    model.eval()
    return fge, x[200:], y[200:]


def test_the_claim_the_ensemble_beats_its_members() -> None:
    """In log-likelihood it is at least their mean by Jensen's inequality; the claim is more: it beats the best of them."""
    for seed in range(2):
        fge, x, y = trained(seed)
        assert len(fge.points) == 6
        before = copy.deepcopy(fge.model.state_dict())
        alone = []
        for member in fge.members():
            twin = copy.deepcopy(fge.model)
            twin.load_state_dict(dict(member))
            alone.append(twin(x).softmax(-1).detach())
        together = fge.predict(x)
        torch.testing.assert_close(together, sum(alone) / 6)
        losses = [nn.functional.nll_loss(p.log(), y).item() for p in alone]
        assert nn.functional.nll_loss(together.log(), y).item() < min(losses)
        assert all(torch.equal(before[name], tensor) for name, tensor in fge.model.state_dict().items())


def test_every_point_keeps_its_own_statistics_and_the_value_is_their_mean() -> None:
    fge, _, _ = trained(0)
    members = fge.members()
    assert not torch.equal(members[0]["1.running_mean"], members[1]["1.running_mean"])
    with pytest.warns(UserWarning, match="averages of statistics"):
        torch.testing.assert_close(fge.value()["0.weight"], sum(m["0.weight"] for m in members) / 6)


def test_another_output_is_averaged_on_request() -> None:
    model = nn.Linear(1, 1, bias=False)
    fge = FGE(model, length=2)
    for w in (1.0, 9.0, 3.0):
        model.weight.data.fill_(w)
        fge.update()
    assert fge.predict(torch.ones(1, 1), lambda model, batch: model(batch)).item() == 2.0


def test_saved_and_resumed() -> None:
    counts = []
    for stop in (None, 5):
        model = nn.Linear(1, 1)
        fge = FGE(model, length=4, k=3)
        for step in range(16):
            if step == stop:
                fge = FGE(model, length=4, k=3).load_state_dict(fge.state_dict())
            model.weight.data.fill_(step)
            fge.update()
        counts.append([point["weight"].item() for point in fge.points])
    assert counts == [[5.0, 9.0, 13.0]] * 2


def test_bad_input() -> None:
    model = nn.Linear(1, 1)
    with pytest.raises(lw.errors.BadParameter, match="the samples of a cycle of the learning rate, must be positive, found 0"):
        FGE(model, length=0)
    with pytest.raises(lw.errors.TooFewSets, match="FGE has averaged nothing yet"):
        FGE(model, length=4).predict(torch.ones(1, 1))
    with pytest.raises(lw.errors.BadParameter, match=r"low in \(0, 1\].*found length=4, low=0,"):
        cyclical(4, 0)
