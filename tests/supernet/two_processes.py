"""Run by test_parallel.py, twice at once: checks of supernets that two processes train, each with its outcome in a file.

python -m tests.supernet.two_processes RANK FOLDER
"""

import json

import pytest
import torch
from torch import distributed, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel

from loomweight.errors import BadParameter, NonFinite, WorkerDied
from loomweight.supernet import (
    AlphaDivergence,
    ByOperator,
    Elastic,
    ImportantPaths,
    Parallel,
    Sampler,
    Sandwich,
    SinglePath,
    Step,
    SubnetOptimizer,
    Uniform,
    elastic,
)

from ..processes import here, told
from .training import batch, gradients, mlp

RANK, FOLDER = here()
SPACE = "width 0 : 2 4 8\nwidth 3 : 2 3 6"
X, Y = batch(size=12)
HALVES = [(X[:6], Y[:6]), (X[6:], Y[6:])]


class Each(Sampler):
    """A subnet for each process."""

    def __init__(self, *values: dict):
        self.values = values

    def draw(self, net, random, done):
        return self.values[RANK % len(self.values)]


def residual() -> Elastic:
    torch.manual_seed(0)

    class Chain(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 5)) for _ in range(3)])
            self.head = nn.Linear(5, 3)

        def forward(self, x):
            for layer in self.layers:
                x = x + layer(x)
            return self.head(x)

    return elastic(Chain(), "depth layers : 1 2 3\nwidth layers.*.0 : 2 4 8", torch.zeros(2, 5))


def own(net: Elastic, values: dict, rank: int) -> dict[str, torch.Tensor]:
    """The gradient of one subnet on one process's half, worked out here."""
    net.zero_grad()
    x, y = HALVES[rank]
    cross_entropy(net.select(values)(x), y).backward()
    found = gradients(net)
    net.zero_grad()
    return found


def close(found: dict, wanted: dict) -> None:
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")


def everyones(value: torch.Tensor) -> list[torch.Tensor]:
    found = [torch.empty_like(value) for _ in range(2)]
    distributed.all_gather(found, value.contiguous())
    return found


def train(step, net: Elastic, steps: range, lr: float = 0.05, optimizer=None) -> SubnetOptimizer:
    optimizer = optimizer or SubnetOptimizer(net, torch.optim.AdamW(net.parameters(), lr=lr))
    for number in steps:
        x, y = batch(seed=10 * number + RANK)
        optimizer.zero_grad()
        step(net, x, y)
        optimizer.step()
    return optimizer


def same_on_all(net: Elastic) -> None:
    for name, tensor in net.state_dict().items():
        first, second = everyones(tensor)
        assert torch.equal(first, second), name


def check_same_subnets_are_one_process_on_the_whole_batch() -> None:
    net, whole = mlp(space=SPACE), mlp(space=SPACE)
    step = Parallel(Sandwich(loss=cross_entropy, sampler=Uniform(), seed=3, soft=AlphaDivergence()), net, subnets="same")
    loss = step(net, *HALVES[RANK])
    alone = Sandwich(loss=cross_entropy, sampler=Uniform(), seed=3, soft=AlphaDivergence())(whole, X, Y)
    close(gradients(net), gradients(whole))
    assert abs(loss - alone) < 1e-5


def check_same_subnets_whatever_the_seeds_of_the_processes() -> None:
    net = mlp(seed=RANK, space=SPACE)
    step = Parallel(SinglePath(loss=cross_entropy, sampler=ByOperator(), seed=RANK), net, subnets="same")
    same_on_all(net)
    train(step, net, range(5))
    same_on_all(net)


def check_depth_sampling_works_in_both_modes() -> None:
    for subnets in ("same", "different"):
        net = residual()
        step = Parallel(SinglePath(loss=cross_entropy, sampler=Uniform(), seed=1), net, subnets=subnets)
        train(step, net, range(8))
        same_on_all(net)


def check_different_subnets_average_over_all() -> None:
    net, drawn = mlp(space=SPACE), [{"width 0": 2, "width 3": 6}, {"width 0": 8, "width 3": 2}]
    Parallel(SinglePath(loss=cross_entropy, sampler=Each(*drawn)), net, subnets="different")(net, *HALVES[RANK])
    found, parts = gradients(net), [own(net, values, rank) for rank, values in enumerate(drawn)]
    close(found, {name: (parts[0][name] + parts[1][name]) / 2 for name in found})


def check_different_subnets_average_over_users() -> None:
    net, drawn = mlp(space=SPACE), [{"width 0": 2, "width 3": 6}, {"width 0": 8, "width 3": 2}]
    Parallel(SinglePath(loss=cross_entropy, sampler=Each(*drawn)), net, subnets="different", average="users")(net, *HALVES[RANK])
    found, parts = gradients(net), [own(net, values, rank) for rank, values in enumerate(drawn)]
    users = {name: torch.zeros_like(tensor) for name, tensor in found.items()}
    for values in drawn:
        a, b = values["width 0"], values["width 3"]
        users["0.weight"][:a] += 1
        users["0.bias"][:a] += 1
        users["3.weight"][:b, :a] += 1
        users["3.bias"][:b] += 1
        users["5.weight"][:, :b] += 1
        users["5.bias"] += 1
    assert {0.0, 1.0, 2.0} <= set(users["3.weight"].flatten().tolist())
    close(found, {name: (parts[0][name] + parts[1][name]) / users[name].clamp(min=1) for name in found})


def check_entries_that_no_process_used_stay_as_they_are() -> None:
    """Neither subnet uses the corner of the second layer; momentum and decay must not move it."""
    net, drawn = mlp(space=SPACE), [{"width 0": 2, "width 3": 6}, {"width 0": 8, "width 3": 2}]
    step = Parallel(SinglePath(loss=cross_entropy, sampler=Each(net.max())), net, subnets="different")
    optimizer = train(step, net, range(2))
    before = net.state_dict()["3.weight"].clone()
    step.step.sampler = Each(*drawn)
    train(step, net, range(2, 4), optimizer=optimizer)
    after = net.state_dict()["3.weight"]
    assert torch.equal(after[2:, 2:], before[2:, 2:])
    assert not (after[:2] == before[:2]).any()
    assert not (after[:, :2] == before[:, :2]).any()


def check_different_subnets_are_drawn_by_random_numbers_of_their_own() -> None:
    net = mlp(space=SPACE)
    step = Parallel(SinglePath(loss=cross_entropy, sampler=Uniform(), seed=5), net, subnets="different")
    seen = [step.step.draw(net)["width 0"] for _ in range(20)]
    first, second = everyones(torch.tensor(seen))
    assert not torch.equal(first, second)
    same_on_all(net)


def check_runs_go_on_exactly() -> None:
    def built(subnets: str, seed: int) -> tuple[Elastic, Parallel]:
        net = residual()
        return net, Parallel(SinglePath(loss=cross_entropy, sampler=ByOperator(), seed=seed), net, subnets=subnets)

    for subnets in ("same", "different"):
        net, step = built(subnets, 0)
        train(step, net, range(6))
        first, half = built(subnets, 0)
        optimizer = train(half, first, range(3))
        saved = json.loads(json.dumps(half.state_dict()))
        again, resumed = built(subnets, 9)
        again.load_state_dict(first.state_dict())
        other = SubnetOptimizer(again, torch.optim.AdamW(again.parameters(), lr=0.05))
        other.load_state_dict(optimizer.state_dict())
        resumed.load_state_dict(saved)
        train(resumed, again, range(3, 6), optimizer=other)
        assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in net.state_dict().items())


def check_a_sampler_that_learns_is_one_on_all_processes() -> None:
    net = mlp(space=SPACE)
    sampler = ImportantPaths(every=2)
    step = Parallel(SinglePath(loss=cross_entropy, sampler=sampler, total=8), net, subnets="same")
    train(step, net, range(8))
    same_on_all(net)
    first, second = everyones(torch.tensor(sampler.odds["width 0"], dtype=torch.float64))
    assert torch.equal(first, second)
    assert first[0] != first[1]


def check_batchnorm_statistics_are_those_of_the_first_process() -> None:
    net = residual()
    train(Parallel(SinglePath(loss=cross_entropy, sampler=Uniform()), net, subnets="different"), net, range(3))
    first, second = everyones(net.state_dict()["layers.0.1.running_mean"])
    assert torch.equal(first, second)
    assert first.any()


def check_a_step_that_fails_is_told_to_all() -> None:
    def loss(out, y):
        return cross_entropy(out, y) * (float("nan") if RANK == 1 else 1.0)

    net = mlp(space=SPACE)
    step = Parallel(Sandwich(loss=loss, sampler=Uniform()), net, subnets="same")
    with pytest.raises(NonFinite if RANK == 1 else WorkerDied, match=r"" if RANK == 1 else r"the step of process 1 raised NonFinite: the loss of the subnet"):
        step(net, X, Y)


def check_processes_that_draw_differently_are_told_so() -> None:
    net = mlp(space=SPACE)
    step = Parallel(SinglePath(loss=cross_entropy, sampler=Each(net.min(), net.max())), net, subnets="same")
    with pytest.raises(BadParameter, match="the processes drew different subnets"):
        step(net, X, Y)


def check_other_models_and_settings_are_refused() -> None:
    def step() -> Step:
        return SinglePath(loss=cross_entropy, sampler=Uniform())

    with pytest.raises(BadParameter, match="process 1 has another model or another space"):
        Parallel(step(), mlp(space=SPACE if RANK else "width 0 : 2 8"), subnets="same")
    net = mlp(space=SPACE)
    with pytest.raises(BadParameter, match="'same' or 'different', found 'both'"):
        Parallel(step(), net, subnets="both")
    with pytest.raises(BadParameter, match="average='users' has no effect"):
        Parallel(step(), net, subnets="same", average="users")
    with pytest.raises(BadParameter, match="'all' or 'users', found 'some'"):
        Parallel(step(), net, subnets="different", average="some")
    same, different = (Parallel(step(), net, subnets=subnets) for subnets in ("same", "different"))
    with pytest.raises(BadParameter, match="the state is of subnets='same' on 1 processes, this run of 'different' on 2"):
        different.load_state_dict(same.state_dict())


def check_ddp_is_refused() -> None:
    with pytest.raises(BadParameter, match=r"train an elastic model with lw.supernet.Parallel"):
        DistributedDataParallel(mlp(space=SPACE))
    outer = DistributedDataParallel(nn.Sequential(mlp(space=SPACE), nn.Linear(3, 3)), find_unused_parameters=True)
    with pytest.raises(BadParameter, match=r"train an elastic model with lw.supernet.Parallel"):
        outer(X)
    with torch.no_grad():
        assert outer(X).shape == (12, 3)


if __name__ == "__main__":
    told(globals())
