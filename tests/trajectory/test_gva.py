"""The metric by hand and by its invariances; behaviour cloning of a controller at the edge of stability, raw and averaged."""

from math import inf

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from loomweight.errors import BadParameter
from loomweight.trajectory import EMA, GVA, Curve, oscillation

numbers = st.lists(st.floats(-100, 100).map(lambda x: round(x, 3)), min_size=2, max_size=20)


def test_by_hand() -> None:
    assert oscillation([1.0, 3.0, 2.0], scale=2.0) == pytest.approx(((4 + 1) / 4) ** 0.5 / 2)
    assert oscillation([5.0, 5.0]) == 0.0
    curve = Curve([4.0, 1.0, 3.0], [0.5, 1.0, 0.0])
    late = curve.settled(1)
    assert late.loss_oscillation == pytest.approx(2**0.5 / 4)  # a share of the first loss, 4
    assert late.reward_oscillation == pytest.approx(0.5**0.5 / 0.5)
    assert late.amplification == pytest.approx(4.0)
    assert Curve([1.0, 1.0], [1.0, 0.0]).amplification == inf
    assert Curve([1.0, 1.0], [1.0, 1.0]).amplification == 0.0


@given(numbers, st.floats(-50, 50), st.floats(0.1, 10))
def test_it_asks_for_jumps_alone(values: list[float], shift: float, factor: float) -> None:
    jumps = oscillation(values, scale=1.0)
    assert oscillation([v + shift for v in values], scale=1.0) == pytest.approx(jumps, abs=1e-9)
    assert oscillation([factor * v for v in values], scale=factor) == pytest.approx(jumps, abs=1e-9)
    assert oscillation(values[::-1], scale=1.0) == pytest.approx(jumps, abs=1e-9)


def test_it_is_the_standard_deviation_of_noise_whatever_the_trend() -> None:
    noise = torch.randn(4000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    trend = torch.linspace(0, 50, 4000, dtype=torch.float64)
    assert oscillation(noise.tolist(), scale=1.0) == pytest.approx(1.0, abs=0.03)
    assert oscillation((noise + trend).tolist(), scale=1.0) == pytest.approx(1.0, abs=0.03)


def test_what_it_refuses() -> None:
    with pytest.raises(BadParameter, match=r"two finite values or more, found \[1\.0\] \(1 in all\)"):
        oscillation([1.0])
    with pytest.raises(BadParameter, match="two finite values"):
        oscillation([1.0, float("nan")])
    with pytest.raises(BadParameter, match=r"scale of an oscillation must be positive, found 0\.0"):
        oscillation([1.0, -1.0])


class Plant:
    """x <- 1.2 Q x + u + w with a rotation Q. The expert's gain leaves 0.98 of x; whoever leaves the unit ball is out."""

    def __init__(self, seed: int) -> None:
        draw = torch.Generator().manual_seed(seed)
        turn, other = (torch.linalg.qr(torch.randn(2, 2, generator=draw)).Q for _ in range(2))
        self.system = 1.2 * turn
        self.gain = self.system - 0.98 * other
        self.states = 0.5 * torch.randn(2000, 2, generator=draw)
        starts = torch.randn(32, 2, generator=draw)
        self.starts = 0.3 * starts / starts.norm(dim=1, keepdim=True)
        self.noise = 0.02 * torch.randn(80, 32, 2, generator=draw)
        self.held = 0.5 * torch.randn(300, 2, generator=draw)

    def expert(self, x: Tensor) -> Tensor:
        return -x @ self.gain.T

    def loss(self, policy: nn.Module) -> float:
        return (policy(self.held) - self.expert(self.held)).square().mean().item()

    def reward(self, policy: nn.Module) -> float:
        """The share of 80 steps that are survived, from 32 starts, in the same noise each time."""
        x, alive, survived = self.starts, torch.ones(32), 0.0
        for wind in self.noise:
            x = x @ self.system.T + policy(x) + wind
            alive = alive * (x.norm(dim=1) < 1)
            x = x.clamp(-5, 5)
            survived += alive.mean().item()
        return survived / len(self.noise)


@pytest.mark.parametrize("seed", [0, 1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_the_reward_jumps_where_the_loss_does_not_and_the_average_calms_it(seed: int) -> None:
    plant = Plant(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        policy = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 2))
    gva = GVA(EMA(policy, half_life=400, warm_up=0.2), plant.loss, plant.reward)
    gva.measure()
    draw = torch.Generator().manual_seed(100 + seed)
    optimizer = torch.optim.SGD(policy.parameters(), lr=0.4)
    for step in range(300):
        x = plant.states[torch.randint(2000, (4,), generator=draw)]
        optimizer.zero_grad()
        (policy(x) - plant.expert(x)).square().mean().backward()
        optimizer.step()
        gva.track.update(samples=4)
        if step >= 150 and step % 10 == 0:
            gva.measure()
    raw, averaged = gva.raw.settled(1), gva.averaged.settled(1)
    assert len(raw.losses) == len(averaged.rewards) == 15
    learnt = [1 - sum(curve.losses) / 15 / gva.raw.losses[0] for curve in (raw, averaged)]
    assert min(learnt) > 0.98  # both explain nearly all that the expert does
    assert learnt[1] - learnt[0] < 0.02
    assert raw.amplification > 5
    assert raw.reward_oscillation > 0.1
    assert averaged.reward_oscillation < raw.reward_oscillation / 10
    assert sum(averaged.rewards) > sum(raw.rewards)
