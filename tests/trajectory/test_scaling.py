"""The scaling rule's invariance on a noisy quadratic: a run and its average take the same path, in samples, whatever the batch."""

import pytest
import torch
from torch import Tensor, nn

import loomweight as lw
from loomweight.trajectory import EMA, half_life_of, scaling_rule
from loomweight.trajectory.scaling import ScalingRule

CHAINS, LR, RHO, SAMPLES, PLACE = 4000, 2e-3, 0.998, 2048, 256


class Chains(nn.Module):
    """Independent runs, one an entry, from w = 1 on the loss w^2 / 2 whose gradient has noise of variance 1 a sample."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(CHAINS))

    def step(self, rate: float, batch: int, generator: torch.Generator) -> None:
        """Plain SGD on a batch."""
        noise = torch.randn(CHAINS, generator=generator) / batch**0.5
        self.w.data.sub_(rate * (self.w.data + noise))


def moments(model: Chains, average: EMA) -> Tensor:
    """[model or average, mean or variance] over the chains."""
    return torch.stack([torch.stack([w.mean(), w.var()]) for w in (model.w.detach(), average.totals["w"])])


def run(kappa: int, rule: ScalingRule, decay: float | None, samples: int = SAMPLES) -> Tensor:
    """The moments at every place of the run. Without a decay for a step the average counts samples."""
    model, generator = Chains(), torch.Generator().manual_seed(kappa)
    average = EMA(model, decay=decay, from_start=True) if decay else EMA(model, half_life=half_life_of(RHO), from_start=True)
    places = []
    for step in range(1, samples // kappa + 1):
        model.step(rule.learning_rate(LR), kappa, generator)
        average.update(1 if decay else kappa)
        if step * kappa % PLACE == 0:
            places.append(moments(model, average))
    return torch.stack(places)


def exact() -> Tensor:
    """The same for batches of one sample, without chains: mean and covariance of (w, m), step by step."""
    mean, covariance = torch.ones(2).double(), torch.zeros(2, 2).double()
    step = torch.tensor([[1 - LR, 0.0], [(1 - RHO) * (1 - LR), RHO]]).double()
    noise = LR * torch.tensor([1.0, 1 - RHO]).double()
    places = []
    for sample in range(1, SAMPLES + 1):
        mean, covariance = step @ mean, step @ covariance @ step.T + torch.outer(noise, noise)
        places += [torch.stack([mean, covariance.diag()], 1).float()] if sample % PLACE == 0 else []
    return torch.stack(places)


ONE_BY_ONE = exact()


def apart(found: Tensor, wanted: Tensor = ONE_BY_ONE) -> Tensor:
    """Differences in units of what they may be: of the mean 3.5 per cent of its start, of the variance 20 per cent of its largest.

    A step of 32 samples moves by 32 * LR = 6.4 per cent of the way, and the path of steps that long differs by about half of that;
    4000 chains know a variance to 2.2 per cent.
    """
    means, variances = (found - wanted).abs().unbind(-1)
    return torch.stack([means / 0.035, variances / (0.2 * ONE_BY_ONE[..., 1].amax(0))], -1)


def test_the_exact_path_is_that_of_chains() -> None:
    one = run(1, scaling_rule(1), scaling_rule(1).decay(RHO), samples=PLACE)
    assert (apart(one, ONE_BY_ONE[:1]) < 0.5).all()


@pytest.mark.parametrize("kappa", [8, 32])
def test_model_and_average_take_the_same_path(kappa: int) -> None:
    rule = scaling_rule(kappa)
    assert (apart(run(kappa, rule, rule.decay(RHO))) < 1).all()


@pytest.mark.parametrize("kappa", [8, 32])
def test_it_fails_when_the_decay_is_not_scaled(kappa: int) -> None:
    """The model still follows, the average lags."""
    wrong = apart(run(kappa, scaling_rule(kappa), RHO))
    assert (wrong[:, 0] < 1).all()
    assert wrong[:, 1, 0].max() > 5


def test_it_fails_when_the_learning_rate_is_not_scaled() -> None:
    rule = scaling_rule(32)
    assert apart(run(32, scaling_rule(1), rule.decay(RHO)))[:, 0, 0].max() > 5


def test_counting_samples_is_the_rule() -> None:
    rule = scaling_rule(32)
    torch.testing.assert_close(run(32, rule, None), run(32, rule, rule.decay(RHO)), rtol=1e-4, atol=1e-6)


def test_accumulated_gradients_are_a_larger_batch() -> None:
    """4 parts of 8 samples, their gradients summed over 4, and one update that says 32: on the path of single samples."""
    rule, model, generator = scaling_rule(32), Chains(), torch.Generator().manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=rule.learning_rate(LR))
    average = EMA(model, half_life=half_life_of(RHO), from_start=True)
    for _ in range(SAMPLES // 32):
        optimizer.zero_grad()
        for _ in range(4):
            noise = torch.randn(CHAINS, generator=generator) / 8**0.5
            ((model.w.square() / 2 + noise * model.w).sum() / 4).backward()
        optimizer.step()
        average.update(samples=4 * 8)
    assert (apart(moments(model, average)[None], ONE_BY_ONE[-1:]) < 1).all()


def progressive(scaled: bool) -> Tensor:
    """The batch grows from 2 to 8 to 32 during the run; the average counts samples, or steps as if all were the first ones."""
    model, generator = Chains(), torch.Generator().manual_seed(2)
    optimizer = torch.optim.SGD(model.parameters(), lr=2 * LR)
    average = EMA(model, half_life=half_life_of(RHO), from_start=True)
    batch = 2
    for samples, size in ((256, 2), (512, 8), (1280, 32)):
        scaling_rule(size / batch).change(optimizer)
        batch = size
        for _ in range(samples // size):
            model.step(optimizer.param_groups[0]["lr"], size, generator)
            average.update(size if scaled else 2)
    return moments(model, average)[None]


def test_a_batch_that_grows_during_the_run() -> None:
    assert (apart(progressive(scaled=True), ONE_BY_ONE[-1:]) < 1).all()
    wrong = apart(progressive(scaled=False), ONE_BY_ONE[-1:])
    assert (wrong[:, 0] < 1).all()
    assert wrong[0, 1, 0] > 5


def adam_run(kappa: int, rule: ScalingRule) -> Tensor:
    """The moments at 4 places, where noise is much larger than the gradient, as the rule asks."""
    model, generator = Chains(), torch.Generator().manual_seed(kappa)
    betas = (rule.beta(0.95), rule.beta(0.99)) if rule.kind == "adam" else (0.95, 0.99)
    optimizer = torch.optim.Adam(model.parameters(), lr=rule.learning_rate(0.01), betas=betas, eps=rule.eps(1e-8))
    average, places = EMA(model, half_life=60, from_start=True), []
    for step in range(1, 400 // kappa + 1):
        model.w.grad = model.w.detach() + 10 * torch.randn(CHAINS, generator=generator) / kappa**0.5
        optimizer.step()
        average.update(kappa)
        if step * kappa % 100 == 0:
            places.append(moments(model, average))
    return torch.stack(places)


def test_adam_follows_the_square_root_rule_and_not_the_linear_one() -> None:
    reference, scaled, linear = adam_run(1, scaling_rule(1, "adam")), adam_run(4, scaling_rule(4, "adam")), adam_run(4, scaling_rule(4, "sgd"))
    assert ((scaled - reference).abs()[..., 0] < 0.05 * reference[..., 0]).all()
    assert ((scaled - reference).abs()[..., 1] < 0.25 * reference[..., 1]).all()
    assert (linear[..., 1] > 2 * reference[..., 1]).all()


def test_settings_by_hand() -> None:
    rule = scaling_rule(4, "adam")
    assert (rule.learning_rate(1e-3), rule.eps(1e-8)) == (2e-3, 5e-9)
    assert rule.beta(0.9) == pytest.approx(0.6)
    assert rule.decay(0.9) == pytest.approx(0.6561)
    assert scaling_rule(4).learning_rate(1e-3) == 4e-3
    assert scaling_rule(0.25).learning_rate(4e-3) == 1e-3


def test_an_optimizer_is_changed_and_its_state_stays() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([{"params": [parameter], "lr": 1e-3, "betas": (0.9, 0.99)}, {"params": [nn.Parameter(torch.zeros(1))], "lr": 1.0}])
    parameter.grad = torch.ones(1)
    optimizer.step()
    state = {k: v.clone() for k, v in optimizer.state[parameter].items()}
    scaling_rule(4, "adam").change(optimizer)
    assert [group["lr"] for group in optimizer.param_groups] == [2e-3, 2.0]
    assert optimizer.param_groups[0]["betas"] == pytest.approx((0.6, 0.96))
    assert optimizer.param_groups[0]["eps"] == pytest.approx(5e-9)
    assert all(torch.equal(optimizer.state[parameter][k], v) for k, v in state.items())


def test_bad_input() -> None:
    with pytest.raises(lw.errors.BadParameter, match="a positive number, and the rule is sgd or adam; found 0 and 'sgd'"):
        scaling_rule(0)
    with pytest.raises(lw.errors.BadParameter, match=r"beta=0\.9 cannot be scaled by 32: 1 - kappa \(1 - beta\) is -2\.2; kappa is at most 10"):
        scaling_rule(32, "adam").beta(0.9)
    with pytest.raises(lw.errors.BadParameter, match="a decay lies in"):
        scaling_rule(2).decay(1.5)
    sgd = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(lw.errors.BadParameter, match="the rule is that of adam, and the optimizer has no betas"):
        scaling_rule(2, "adam").change(sgd)
    adam = torch.optim.Adam([{"params": [nn.Parameter(torch.zeros(1))], "betas": (0.99, 0.999)}, {"params": [nn.Parameter(torch.zeros(1))]}], lr=0.1)
    with pytest.raises(lw.errors.BadParameter, match=r"beta=0\.9 cannot"):
        scaling_rule(20, "adam").change(adam)
    assert [group["lr"] for group in adam.param_groups] == [0.1, 0.1]
