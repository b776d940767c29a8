"""Switch EMA: what moves, what stays, when; and what it does to a noisy run."""

import pytest
import torch
from torch import Tensor, nn

import loomweight as lw
from loomweight.trajectory import EMA, SwitchEMA


class Chains(nn.Module):
    """As many independent runs as there are entries, on the loss sum w^2 / 2."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(start.clone())


def set_to(model: nn.Module, w: float) -> None:
    for parameter in model.parameters():
        parameter.data.fill_(w)


def test_by_hand_the_average_goes_on_over_a_switch() -> None:
    """from_start with rho = 1/2: m = 0, then 2, then w <- 2; w = 4 gives m = 3, w = 5 gives m = 4, then w <- 4."""
    model = nn.Linear(1, 1, bias=False)
    set_to(model, 0.0)
    ema = SwitchEMA(model, half_life=1, switch_every=2, from_start=True)
    seen = []
    for w in (2.0, 3.0, 4.0, 6.0):
        set_to(model, w)
        ema.update()
        seen.append(model.weight.item())
    assert seen == [2.0, 2.0, 4.0, 4.5]


def test_the_switch_is_counted_in_samples() -> None:
    model = nn.Linear(1, 1, bias=False)
    ema = SwitchEMA(model, half_life=100, switch_every=64)
    switched = []
    for w, samples in ((1.0, 32), (2.0, 16), (3.0, 16), (4.0, 48), (5.0, 16)):
        set_to(model, w)
        ema.update(samples)
        switched.append(model.weight.item() != w)
    assert switched == [False, False, True, False, True]


def test_without_a_number_only_the_call_switches() -> None:
    model = nn.Linear(1, 1, bias=False)
    ema = SwitchEMA(model, half_life=1)
    for w in (4.0, 1.0):
        set_to(model, w)
        ema.update()
    assert model.weight.item() == 1.0
    ema.switch()
    assert model.weight.item() == 2.0


def test_the_optimizer_and_whole_numbers_stay_and_floating_buffers_are_switched() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, lr=0.1)
    ema = SwitchEMA(model, half_life=8)
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.randn(4, 3)).square().sum().backward()
        optimizer.step()
        ema.update(samples=4)
    before = [{k: v.clone() for k, v in optimizer.state[p].items()} for p in parameters]
    live = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.warns(UserWarning, match="averages of statistics"):
        average = ema.value()
    ema.switch()
    assert all(new is old for new, old in zip(model.parameters(), parameters, strict=True))
    for parameter, state in zip(parameters, before, strict=True):
        assert all(torch.equal(optimizer.state[parameter][k], v) for k, v in state.items())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, average[name])
        assert torch.equal(tensor, live[name]) == (name == "1.num_batches_tracked"), name


def test_saved_between_two_switches_and_resumed() -> None:
    runs = []
    for stop in (None, 3):
        model = nn.Linear(1, 1, bias=False)
        set_to(model, 0.0)
        ema = SwitchEMA(model, half_life=2, switch_every=4)
        for step in range(9):
            if step == stop:
                ema = SwitchEMA(model, half_life=2, switch_every=4).load_state_dict(ema.state_dict())
            model.weight.data.add_(1.0)
            ema.update()
        runs.append(model.weight.item())
    assert runs[0] == runs[1]
    with pytest.raises(lw.errors.BadParameter, match="switched every 4"):
        SwitchEMA(model, half_life=2, switch_every=5).load_state_dict(ema.state_dict())


def noisy_run(average: EMA, steps: int, noise: float) -> Tensor:
    """Mean loss of the live model over the second half; the same noise whoever averages."""
    assert isinstance(average.model, Chains)
    w, g, losses = average.model.w.data, torch.Generator().manual_seed(0), []
    for step in range(steps):
        w.sub_(0.1 * (w + noise * torch.randn(w.shape, generator=g)))
        average.update()
        losses += [w.square().mean() / 2] if step >= steps // 2 else []
    return torch.stack(losses).mean()


def test_a_noisy_run_is_nearer_its_minimum_and_one_without_noise_is_held_back() -> None:
    """Switching removes the variance of the latest steps, at the price of the way back: the paper's two sides, sharpness and lag."""

    def loss(switch_every: float | None, noise: float) -> Tensor:
        start = torch.zeros(2000) if noise else torch.ones(1)
        return noisy_run(SwitchEMA(Chains(start), half_life=10, switch_every=switch_every), steps=120, noise=noise)

    assert loss(10, noise=1.0) < 0.8 * loss(None, noise=1.0)
    assert loss(10, noise=0.0) > loss(None, noise=0.0)


def test_bad_input() -> None:
    model = nn.Linear(1, 1)
    with pytest.raises(lw.errors.BadParameter, match=r"switch_every must be a positive number of samples, or None, found 0\."):
        SwitchEMA(model, half_life=1, switch_every=0)
    ema = SwitchEMA(model, half_life=1)
    with pytest.raises(lw.errors.TooFewSets, match="SwitchEMA has averaged nothing yet"):
        ema.switch()
    ema.update()
    with ema.applied(), pytest.raises(lw.errors.BadParameter, match="called while the average is applied"):
        ema.switch()
