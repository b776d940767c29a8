"""Terms that change what clients train on, how far they step, and what stays with them: the claims of their papers on small problems."""

import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from loomweight.errors import BadParameter, UnknownName
from loomweight.federate import (
    Curriculum,
    DeltaSGD,
    Langevin,
    Local,
    Moon,
    Pool,
    Proximal,
    Strategy,
    Task,
    Term,
    Trainer,
    WassersteinRobust,
    Work,
    contrast,
    fedbn,
    simulate,
)

from .drift import WIDTH, best, descent, line, quadratics
from .small import clients, deep, model, same


@pytest.mark.parametrize("curvature", [0.1, 1.0, 10.0, 100.0, 1000.0])
def test_delta_sgd_needs_no_rate_over_four_decades_of_curvature(curvature: float) -> None:
    """The default first rate of 0.2 for all of them; plain descent with it blows up from 10 on, and crawls at 0.1."""
    data = {name: (math.sqrt(curvature) * x, math.sqrt(curvature) * y) for name, (x, y) in quadratics(1, 20).items()}
    local = descent(60, rate=0.2)
    found = simulate(line(), data, Strategy(local=local, objective=(DeltaSGD(),)), 2).weights["weight"]
    assert (found - best(data)).norm() < 0.02
    if curvature != 1.0:
        plain = Trainer(line(), Strategy(local=local))
        reply, _ = plain(data["c0"], Task("c0", 0, plain.travelling()), {})
        end = reply.update["weight"]
        assert not torch.isfinite(end).all() or (end - best(data)).norm() > 0.4


class Rates(Term):
    """Notes the rate of each step, and of what batch."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def stepped(self, work: Work) -> None:
        self.seen.append(work.rate)


def test_the_step_sizes_are_those_of_the_paper() -> None:
    """eta_k = min(gamma ||dx|| / (2 ||dg||), sqrt(1 + delta theta) eta_k-1), written out on whole batches, where one or two gradients are the same."""
    data, gamma, delta = quadratics(1), 0.5, 0.3
    inputs, targets = data["c0"]
    noted = []
    for same_batch in (True, False):
        rates = Rates()
        simulate(line(), data, Strategy(objective=(DeltaSGD(gamma, delta, same_batch), rates), local=descent(16, rate=0.05)), 1)
        noted.append(rates.seen)
    place, rate, theta, expected, before, taken = torch.zeros(1, WIDTH, dtype=torch.float64), 0.05, 1.0, [], None, set()
    for _ in range(16):
        slope = 2 / len(inputs) * (inputs @ place.T - targets).T @ inputs
        if before is not None:
            sides = gamma * (place - before[0]).norm().item() / (2 * (slope - before[1]).norm().item()), math.sqrt(1 + delta * theta) * rate
            new = min(sides)
            taken.add(sides.index(new))
            rate, theta = new, new / rate
        before, place = (place, slope), place - rate * slope
        expected.append(rate)
    assert noted[0] == pytest.approx(expected, rel=1e-9) and noted[1] == pytest.approx(expected, rel=1e-9)  # float64 sums in another order
    assert taken == {0, 1}  # both sides of the minimum


def test_on_small_batches_the_noise_does_not_make_steps_shrink() -> None:
    """Why both gradients are of one batch: with the gradient of another batch the step sizes collapse."""
    data, ends = quadratics(1, 40), []
    for same_batch in (True, False):
        rates = Rates()
        simulate(line(), data, Strategy(objective=(DeltaSGD(same_batch=same_batch), rates), local=descent(80, rate=0.2, batch=2)), 1)
        ends.append(sum(rates.seen[-40:]) / 40)
    assert ends[0] > 2 * ends[1]


class Featured(nn.Module):
    """Features and a head, with BatchNorm and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh())
        self.head = nn.Linear(6, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(inputs))


def featured() -> Featured:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return Featured()


def test_the_contrast_is_a_cross_entropy_of_two_similarities() -> None:
    """A second formula: the authors' code takes the cross entropy of (near, far) / temperature with the class near."""
    generator = torch.Generator().manual_seed(2)
    own, near, far = (torch.randn(7, 5, generator=generator, dtype=torch.float64) for _ in range(3))
    logits = torch.stack([functional.cosine_similarity(own, other) for other in (near, far)], 1) / 0.5
    expected = functional.cross_entropy(logits, torch.zeros(7, dtype=torch.long))
    assert contrast(own, near, far, 0.5) == pytest.approx(expected.item(), rel=1e-12)  # float64


def test_moon_is_plain_in_the_first_task_and_then_stays_near_the_received_features() -> None:
    data = clients(2, examples=24)
    local = Local(epochs=3, batch=8)
    plain, first = (simulate(featured(), data, Strategy(objective=terms, local=local), 1) for terms in ((), (Moon("features", mu=5.0),)))
    assert same(plain.weights, first.weights)
    zero = simulate(featured(), data, Strategy(objective=(Moon("features", mu=0.0),), local=local), 3)
    assert same(simulate(featured(), data, Strategy(local=local), 3).weights, zero.weights)

    def nearness(mu: float) -> float:
        """Of the features to those received, against those of the client's model before, in its second task."""
        trainer = Trainer(featured(), Strategy(objective=(Moon("features", mu=mu),), local=local))
        received = trainer.travelling()
        _, memory = trainer(data["c0"], Task("c0", 0, received, seed=1), {})
        trainer(data["c0"], Task("c0", 1, received, seed=2), memory)
        assert not [module for module in trainer.model.modules() if module._forward_hooks]
        rows = []
        for weights in (trainer.model.state_dict(), received, memory["Moon"]["before"]):
            net = featured()
            net.load_state_dict(weights)
            rows.append(net.eval().features(data["c0"][0]))
        return contrast(*rows, 0.5).item()

    assert nearness(20.0) < nearness(0.0) - 0.01


def test_moon_says_which_module_it_means() -> None:
    trainer = Trainer(featured(), Strategy(objective=(Moon("feature"),)))
    data = clients(1)["c0"]
    _, memory = trainer(data, Task("c0", 0, trainer.travelling()), {})
    with pytest.raises(UnknownName, match="no module named 'feature'; nearest: 'features'"):
        trainer(data, Task("c0", 1, trainer.travelling()), memory)


def test_wafl_moves_inputs_to_the_worst_place_that_a_formula_gives() -> None:
    """For squared errors the worst input is known: z' - z = 2 r w / (gamma - 2 ||w||^2), with r the error at z."""
    inputs, targets = quadratics(1)["c0"]
    net, seen = line(), []

    class Seen(Term):
        def loss(self, work, batch, loss):
            seen.append(batch[0].detach())
            return loss

    with torch.no_grad():
        net.weight.copy_(torch.tensor([[0.5, -0.3, 0.2]]))
    gamma, weights = 3.0, net.weight.detach()
    strategy = Strategy(objective=(WassersteinRobust(gamma, steps=150, rate=0.3), Seen()), local=descent(1))
    simulate(net, {"c0": (inputs, targets)}, strategy, 1)
    error = inputs @ weights.T - targets
    expected = inputs + 2 * error * weights / (gamma - 2 * weights.square().sum())
    assert torch.allclose(seen[0], expected, atol=1e-9)  # the end of an ascent in float64
    far = simulate(net, {"c0": (inputs, targets)}, Strategy(objective=(WassersteinRobust(1e9, 5, 1e-9),), local=descent(3)), 1)
    plain = simulate(net, {"c0": (inputs, targets)}, Strategy(local=descent(3)), 1)
    assert torch.allclose(far.weights["weight"], plain.weights["weight"], atol=1e-6)  # inputs moved by something like 1 / gamma


def test_wafl_is_robust_to_a_shift_of_the_inputs() -> None:
    """A feature of small spread with a large weight makes a model that small shifts of the inputs throw far off; the robust one leans on the other."""
    generator = torch.Generator().manual_seed(4)
    inputs = torch.randn(60, 2, generator=generator, dtype=torch.float64) * torch.tensor([0.3, 1.0], dtype=torch.float64)
    targets = inputs @ torch.tensor([[3.0], [1.0]], dtype=torch.float64)
    data = {"c0": (inputs[:30], targets[:30]), "c1": (inputs[30:], targets[30:])}

    def losses(objective: tuple[Term, ...]) -> tuple[float, float]:
        """As it is, and with every input shifted by 0.5 to the worst side, which is along the weights."""
        net = nn.Linear(2, 1, bias=False).double()
        nn.init.zeros_(net.weight)
        weights = simulate(net, data, Strategy(objective=objective, local=descent(10, rate=0.4)), 8).weights["weight"]
        error = inputs @ weights.T - targets
        return error.square().mean().item(), (error.abs() + 0.5 * weights.norm()).square().mean().item()

    plain, robust = losses(()), losses((WassersteinRobust(6.0, steps=5, rate=0.05),))
    assert plain[0] < robust[0] and robust[1] < 0.7 * plain[1]


def test_wafl_leaves_statistics_alone_and_refuses_integers() -> None:
    data = clients(1)
    trainer = Trainer(deep(), Strategy(objective=(WassersteinRobust(2.0, steps=4),), local=Local(steps=3)))
    reply, _ = trainer(data["c0"], Task("c0", 0, trainer.travelling()), {})
    assert reply.update["1.num_batches_tracked"] == 3
    whole = {"c0": (torch.randint(5, (6, 4)), data["c0"][1][:6])}
    embedded = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(12, 2))
    trainer = Trainer(embedded, Strategy(objective=(WassersteinRobust(2.0),)))
    with pytest.raises(BadParameter, match="must be floating tensors"):
        trainer(whole["c0"], Task("c0", 0, trainer.travelling()), {})


class Level(nn.Module):
    """One number, times the input."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(40, dtype=torch.float64))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs * self.w


def energy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """-log of Gaussians of variance 1 around w, in each of 40 independent coordinates: the mean over examples, the sum over coordinates."""
    return 0.5 * (outputs - targets).square().sum(1).mean()


@pytest.mark.parametrize("shared", [0.0, 0.6, 1.0])
def test_langevin_samples_the_posterior(shared: float) -> None:
    """n draws of N(w, 1) with a flat prior: w is N(mean, 1/n). 40 chains at once; with step size h the exact variance of the chain is 1/n / (1 - h/2)."""
    generator = torch.Generator().manual_seed(3)
    data = {}
    for name, count in (("c0", 3), ("c1", 9), ("c2", 4)):
        data[name] = (torch.ones(count, 40, dtype=torch.float64), torch.randn(count, 1, generator=generator, dtype=torch.float64).expand(count, 40).clone())
    mean = torch.cat([targets[:, 0] for _, targets in data.values()]).mean()
    seen, rate, rounds = [], 0.5, 60
    local = Local(steps=1, batch=10_000, optimizer=partial(torch.optim.SGD, lr=rate), loss=energy, shuffle=False)

    class Samples(Term):
        def pool(self, shared, ended):
            seen.append(ended.after["w"].clone())
            return shared

    simulate(Level(), data, Strategy(objective=(Langevin(16, shared=shared), Samples()), local=local), rounds)
    draws = torch.stack(seen[15:])
    variance = (draws - mean).square().mean().item()
    # 45 rounds of 40 chains whose correlation time is 3 rounds: about 600 independent draws, 3 standard errors are 17 %
    assert variance == pytest.approx(1 / 16 / (1 - rate / 2), rel=0.17)
    assert draws.mean().item() == pytest.approx(mean.item(), abs=0.03)  # 3 standard errors of 0.29 / sqrt(600)


def test_shared_noise_keeps_clients_together_and_no_temperature_is_plain() -> None:
    data = {f"c{i}": (torch.ones(5, 40, dtype=torch.float64), torch.zeros(5, 40, dtype=torch.float64)) for i in range(2)}
    local = Local(steps=4, batch=10, optimizer=partial(torch.optim.SGD, lr=0.3), loss=energy)

    def updates(**options: float) -> list[torch.Tensor]:
        trainer = Trainer(Level(), Strategy(objective=(Langevin(10, **options),), local=local))
        received = trainer.travelling()
        return [trainer(data["c0"], Task(name, 0, received, seed=seed), {})[0].update["w"] for seed, name in enumerate(data)]

    together, alone, cold = updates(shared=1.0), updates(), updates(temperature=0.0)
    assert torch.equal(together[0], together[1]) and together[0].norm() > 0.1
    assert (alone[0] - alone[1]).norm() > 0.1 and not cold[0].any()


def test_a_curriculum_goes_from_easy_to_hard_as_fast_as_its_pace_says() -> None:
    inputs = torch.linspace(0.1, 4, 50, dtype=torch.float64)[torch.randperm(50, generator=torch.Generator().manual_seed(1))].reshape(-1, 1)
    data = {"c0": (inputs, inputs.clone())}  # at weight 0 the squared error grows with the input
    net = nn.Linear(1, 1, bias=False).double()
    nn.init.zeros_(net.weight)
    local = Local(steps=10, batch=5, optimizer=partial(torch.optim.SGD, lr=1e-6), loss=functional.mse_loss)
    hardest: dict[str, list[float]] = {}
    for ranking in ("easy", "hard", "random"):
        seen: list[float] = []

        class Seen(Term):
            def loss(self, work, batch, loss, seen=seen):
                assert len(batch[0]) == 5
                seen.append(batch[0].max().item())
                return loss

        simulate(net, data, Strategy(objective=(Curriculum(ranking, full=0.8, first=0.2), Seen()), local=local), 1)
        hardest[ranking] = seen
    ordered = inputs.flatten().sort().values
    for step, found in enumerate(hardest["easy"]):
        there = math.ceil(50 * min(1.0, 0.2 + 0.8 * step / 8) - 1e-9)
        assert found <= ordered[there - 1].item()
    assert hardest["easy"][0] < 0.9 < hardest["hard"][0] and hardest["random"][0] > 0.9
    paces = {
        pacing: [Curriculum("easy", pacing, 0.5, 0.2).there(step, 20, 1000) for step in range(11)] for pacing in ("root", "linear", "quadratic", "exp", "step")
    }
    assert paces["step"] == [200] * 10 + [1000]
    for slower, faster in (("quadratic", "linear"), ("linear", "root"), ("exp", "quadratic")):
        assert all(a <= b for a, b in zip(paces[slower], paces[faster], strict=True)) and paces[slower][5] < paces[faster][5]
    assert {pace[-1] for pace in paces.values()} == {1000}
    assert Curriculum("easy", "log", 0.5, 0.2).there(0, 20, 1000) == 200 and Curriculum("easy", "log", 0.5, 0.2).there(10, 20, 1000) == 1000


def test_fedbn_keeps_batch_norm_with_its_clients() -> None:
    """Features shifted from client to client, as in the paper: each client's statistics are its own, and the loss of each is lower."""
    generator = torch.Generator().manual_seed(8)
    data = {}
    for i, (shift, scale) in enumerate(((0.0, 1.0), (6.0, 4.0))):
        inputs = torch.randn(40, 4, generator=generator)
        data[f"c{i}"] = (shift + scale * inputs, (inputs[:, 0] > 0).long())
    net = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2))
    local = Local(epochs=3, batch=20, optimizer=partial(torch.optim.SGD, lr=0.5))
    assert set(fedbn(net)) == {"0.weight", "0.bias", "0.running_mean", "0.running_var", "0.num_batches_tracked"}
    own, pooled = (simulate(net, data, Strategy(local=local, tensors=table), 4) for table in (fedbn(net), {}))
    assert own.history[0]["bytes_up"] == 2 * 4 * 10 and torch.equal(own.weights["0.running_mean"], net[0].running_mean)
    trainer = Trainer(net, Strategy(local=local, tensors=fedbn(net)))
    kept = [trainer(part, Task(name, 0, trainer.travelling()), {})[1]["local"]["0.running_mean"].mean().item() for name, part in data.items()]
    assert kept[1] - kept[0] > 2  # of a shift of 6, after a few steps
    assert own.last("loss") < pooled.last("loss") + 1e-6


def test_numbers_out_of_range() -> None:
    for make, words in (
        (lambda: DeltaSGD(gamma=0.0), "gamma is positive"),
        (lambda: Moon("f", temperature=0.0), "temperature positive, found 1.0 and 0.0"),
        (lambda: WassersteinRobust(0.0), "gamma and rate are positive"),
        (lambda: Langevin(0), "examples is at least 1"),
        (lambda: Curriculum("slow"), "the order is easy, hard or random"),
        (lambda: Curriculum(first=0.0), r"shares in \(0, 1\], found 0.8 and 0.0"),
    ):
        with pytest.raises(BadParameter, match=words):
            make()


def test_a_curriculum_and_a_pull_stand_together() -> None:
    """Terms compose: what two change is changed by both."""
    strategy = Strategy(objective=(Curriculum(), Proximal(0.5)), aggregate=Pool(counts=False))
    alone = Strategy(objective=(Curriculum(),), aggregate=Pool(counts=False))
    both, one = (simulate(model(), clients(), each, 2).weights for each in (strategy, alone))
    assert not same(both, one)
    start = model().state_dict()
    assert sum((both[name] - start[name]).norm() for name in start) < sum((one[name] - start[name]).norm() for name in start)
