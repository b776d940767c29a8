"""Lookahead: the paper's algorithm step by step, its variance in proposition 2, and what momentum does."""

import pytest
import torch
from torch import Tensor, nn

import loomweight as lw
from loomweight.trajectory import Lookahead


class Chains(nn.Module):
    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(start.clone())


def test_against_the_algorithm_written_out() -> None:
    torch.manual_seed(0)
    model, twin = nn.Linear(4, 3), nn.Linear(4, 3)
    twin.load_state_dict(model.state_dict())
    slow = Lookahead(model, every=5 * 16, alpha=0.8)
    optimizer, other = (torch.optim.SGD(m.parameters(), lr=0.05, momentum=0.9) for m in (model, twin))
    phi = [p.detach().clone() for p in twin.parameters()]
    for step in range(1, 18):
        x = torch.randn(16, 4)
        for m, o in ((model, optimizer), (twin, other)):
            o.zero_grad()
            (m(x) - x[:, :3]).square().mean().backward()
            o.step()
        slow.update(samples=16)
        if step % 5 == 0:
            for p, theta in zip(phi, twin.parameters(), strict=True):
                p += 0.8 * (theta.detach() - p)
                theta.data.copy_(p)
    torch.testing.assert_close(list(model.parameters()), list(twin.parameters()))
    torch.testing.assert_close([slow.value()[name] for name in ("weight", "bias")], phi)
    assert not torch.equal(slow.value()["weight"], model.weight), "the value is the slow weights, not where the optimizer is"


def test_the_variance_that_proposition_2_says() -> None:
    """V = a^2 (1 - r^2k) / (a^2 (1 - r^2k) + 2 a (1 - a) (1 - r^k)) of SGD's, with r = 1 - lr * curvature; the means are 0 in both."""
    lr, k, alpha, chains = 0.3, 5, 0.5, 20_000
    r = 1 - lr
    plain = lr**2 / (1 - r**2)
    top = alpha**2 * (1 - r ** (2 * k))
    wanted = plain * top / (top + 2 * alpha * (1 - alpha) * (1 - r**k))
    model, generator = Chains(torch.zeros(chains)), torch.Generator().manual_seed(0)
    slow = Lookahead(model, every=k, alpha=alpha)
    for _ in range(40 * k):
        model.w.data.sub_(lr * (model.w.data + torch.randn(chains, generator=generator)))
        slow.update()
    deviation = wanted * (2 / chains) ** 0.5  # of the estimate of a normal's variance
    assert abs(model.w.data.var().item() - wanted) < 5 * deviation
    assert plain - wanted > 50 * deviation, "so that SGD's own variance would not pass"


def with_momentum(momentum: str, steps: int) -> tuple[float, float]:
    """Weight and velocity of SGD with gradient 1, lr 1 and momentum 1/2, slow weights every 2 steps half the way."""
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.zero_()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.5)
    slow = Lookahead(model, every=2, alpha=0.5, momentum=momentum, optimizer=optimizer)  # type: ignore[arg-type]
    for _ in range(steps):
        model.weight.grad = torch.ones(1, 1)
        optimizer.step()
        slow.update()
    return model.weight.item(), optimizer.state[model.weight]["momentum_buffer"].item()


def test_momentum_by_hand() -> None:
    """Velocities 1, 1.5: the fast weight is -2.5, the slow one -1.25. Kept 1.5; reset 0; pulled back half way from 0, 0.75."""
    assert with_momentum("keep", 2) == (-1.25, 1.5)
    assert with_momentum("reset", 2) == (-1.25, 0.0)
    assert with_momentum("pull back", 2) == (-1.25, 0.75)
    assert with_momentum("pull back", 4)[1] == (0.75 + (1 + (1 + 0.75 / 2) / 2)) / 2


def test_adams_first_moment_is_momentum_too() -> None:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    slow = Lookahead(model, every=1, alpha=0.5, momentum="reset", optimizer=optimizer)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert optimizer.state[model.weight]["exp_avg"].abs().sum() > 0
    slow.update()
    assert optimizer.state[model.weight]["exp_avg"].abs().sum() == 0
    assert optimizer.state[model.weight]["exp_avg_sq"].abs().sum() > 0


def test_buffers_of_the_model_stay_its_own() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    slow = Lookahead(model, every=1, alpha=0.5)
    model(torch.tensor([[1.0, 2.0], [5.0, 9.0]]))
    before = model[1].running_mean.clone()  # type: ignore[union-attr, operator]
    slow.update()
    assert torch.equal(model[1].running_mean, before)  # type: ignore[arg-type]
    assert torch.allclose(slow.totals["1.running_mean"], before / 2)


def test_a_late_point_goes_further() -> None:
    """k = 2, alpha = 1/2, one point after 3 samples: 1 - 2^(-3/2) of the way."""
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.zero_()
    slow = Lookahead(model, every=2, alpha=0.5)
    model.weight.data.fill_(1.0)
    slow.update(samples=3)
    assert model.weight.item() == pytest.approx(1 - 2**-1.5, rel=1e-6)  # float32


def test_saved_and_resumed() -> None:
    torch.manual_seed(0)
    ends = []
    for stop in (None, 7):
        torch.manual_seed(1)
        model = nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        slow = Lookahead(model, every=3, momentum="pull back", optimizer=optimizer)
        for step in range(12):
            if step == stop:
                slow = Lookahead(model, every=3, momentum="pull back", optimizer=optimizer).load_state_dict(slow.state_dict())
            optimizer.zero_grad()
            model(torch.randn(4, 3)).square().mean().backward()
            optimizer.step()
            slow.update()
        ends.append(torch.cat([p.detach().reshape(-1) for p in model.parameters()]))
    assert torch.equal(*ends)
    with pytest.raises(lw.errors.BadParameter, match="momentum keep"):
        Lookahead(model, every=3).load_state_dict(slow.state_dict())


def test_bad_input() -> None:
    model = nn.Linear(1, 1)
    with pytest.raises(lw.errors.BadParameter, match=r"alpha lies between 0 and 1.*found alpha=1\.0, every=5"):
        Lookahead(model, every=5, alpha=1.0)
    with pytest.raises(lw.errors.BadParameter, match=r"every is a positive number of samples; found alpha=0\.5, every=0"):
        Lookahead(model, every=0)
    with pytest.raises(lw.errors.BadParameter, match="one of keep, reset, pull back, all but the first with optimizer"):
        Lookahead(model, every=5, momentum="reset")
    slow = Lookahead(model, every=1)
    model.weight.data.fill_(torch.nan)
    with pytest.raises(lw.errors.NonFinite, match="'weight' of the model holds NaN"):
        slow.update()
    assert torch.isfinite(slow.totals["weight"]).all()
