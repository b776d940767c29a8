"""The simulation: equal to a bare loop, the same bits on every engine and after a kill, faults and attackers."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from loomweight.errors import BadParameter, BrokenFile, OutputError, TooFewReplies
from loomweight.federate import Attack, Fault, Federation, Guard, Local, Sample, ServerOptimizer, Strategy, World, simulate
from loomweight.federate.folder import Folder
from loomweight.rules import Krum, Median

from .small import clients, deep, model, same, whole_batch


def test_full_batches_and_one_step_are_gradient_descent_on_all_data() -> None:
    """Federated averaging with one step is exactly centralised descent: a second formula."""
    data, net = clients(), model()
    found = simulate(net, data, Strategy(local=whole_batch()), rounds=3)
    inputs, targets = (torch.cat([part[i] for part in data.values()]) for i in (0, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(inputs), targets).backward()
        optimizer.step()
    for name, tensor in net.state_dict().items():
        assert torch.allclose(found.weights[name], tensor, atol=1e-6)  # float32 sums in another order


def test_a_server_optimizer_of_rate_1_is_plain_averaging_and_momentum_is_torch_s() -> None:
    data = clients()
    plain = simulate(model(), data, Strategy(local=whole_batch()), rounds=3)
    sgd = simulate(model(), data, Strategy(local=whole_batch(), aggregate=ServerOptimizer()), rounds=3)
    for name in plain.weights:
        assert torch.allclose(plain.weights[name], sgd.weights[name], atol=1e-7)  # one addition in another order
    heavy = simulate(model(), data, Strategy(local=whole_batch(), aggregate=ServerOptimizer(partial(torch.optim.SGD, lr=1.0, momentum=0.5))), rounds=2)
    once = simulate(model(), data, Strategy(local=whole_batch()), rounds=1)
    start = model().state_dict()
    again = simulate(once.model, data, Strategy(local=whole_batch()), rounds=1)
    for name in start:
        first, second = once.weights[name] - start[name], again.weights[name] - once.weights[name]
        assert torch.allclose(heavy.weights[name], start[name] + first + second + 0.5 * first, atol=1e-6)  # float32 sums in another order


def run(engine: str = "inline", folder: Path | None = None, rounds: int = 4, **hooks: object) -> Federation:
    strategy = Strategy(**{"choose": Sample(3), "local": Local(epochs=2, batch=4), "tensors": {"4.bias": "local"}, **hooks})
    return simulate(deep(), clients(5), strategy, rounds, engine=engine, world=World(seed=5), folder=folder)


def test_the_same_bits_on_every_engine_and_in_pieces(tmp_path: Path) -> None:
    straight = run()
    run(folder=tmp_path / "run", rounds=2)
    pieces = run(folder=tmp_path / "run")
    assert same(straight.weights, pieces.weights) and straight.history == pieces.history
    spread = run("ray:2")
    assert same(straight.weights, spread.weights) and straight.history == spread.history
    other = simulate(deep(), clients(5), Strategy(choose=Sample(3), local=Local(epochs=2, batch=4)), 4, world=World(seed=6))
    assert not same(straight.weights, other.weights)


def test_the_caller_s_model_and_random_numbers_are_left_alone() -> None:
    net = deep()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    threads = torch.get_num_threads()
    simulate(net, clients(), Strategy(), rounds=1)
    assert torch.equal(torch.rand(1), expected) and torch.get_num_threads() == threads and same(before, net.state_dict())


def test_a_local_tensor_stays_with_its_client_and_a_kept_one_never_moves() -> None:
    strategy = Strategy(tensors={"bias": "local"}, local=whole_batch())
    found = simulate(model(), clients(), strategy, rounds=3)
    assert torch.equal(found.weights["bias"], model().state_dict()["bias"])
    assert found.history[0]["bytes_up"] == 3 * 8 * 4  # the weight alone
    frozen = simulate(model(), clients(), Strategy(tensors={"bias": "keep"}, local=whole_batch()), rounds=3)
    assert not same(found.weights, frozen.weights)  # local biases were trained, and the weights with them


def test_a_tied_tensor_travels_once_and_stays_tied() -> None:
    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into, self.out = torch.nn.Linear(4, 4, bias=False), torch.nn.Linear(4, 4, bias=False)
            self.out.weight = self.into.weight

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return self.out(self.into(inputs))

    found = simulate(Tied(), clients(), Strategy(), rounds=1)
    assert torch.equal(found.weights["into.weight"], found.weights["out.weight"])
    assert found.history[0]["bytes_up"] == 3 * 16 * 4


@pytest.mark.parametrize("kind", ["raises", "hangs", "nothing"])
def test_a_client_that_fails_is_counted_and_the_others_go_on(kind: str) -> None:
    world = World(faults={"c1": Fault(kind, when=lambda number: number == 1)})
    found = simulate(model(), clients(4), Strategy(), rounds=3, world=world)
    code = {"raises": "died", "hangs": "late", "nothing": "nothing"}[kind]
    assert [line["refused"] for line in found.history] == [{}, {code: 1}, {}]
    assert [line["pooled"] for line in found.history] == [4, 3, 4]


def test_a_killed_worker_costs_its_own_task() -> None:
    world = World(faults={"c1": Fault("killed", when=lambda number: number == 0)})
    found = simulate(model(), clients(4), Strategy(), rounds=2, engine="ray:2", world=world)
    assert [line["refused"] for line in found.history] == [{"died": 1}, {}]
    without = simulate(model(), clients(4), Strategy(), rounds=2, world=World(faults={"c1": Fault("raises", when=lambda number: number == 0)}))
    assert same(found.weights, without.weights)


class Away(Attack):
    """A hundred times the mean of the honest, to the other side."""

    def forge(self, own, honest, draw):
        from dataclasses import replace

        return replace(own, update={name: -100 * torch.stack([update[name] for update in honest]).mean(0) for name in own.update})


def test_a_hostile_client_moves_the_mean_and_not_the_median() -> None:
    honest = simulate(model(), clients(5), Strategy(local=whole_batch()), rounds=2)
    world = World(attackers={"c4": Away()})

    def distance(found: Federation) -> float:
        return sum((found.weights[name] - honest.weights[name]).norm().item() for name in honest.weights)

    mean = simulate(model(), clients(5), Strategy(local=whole_batch()), rounds=2, world=world)
    median = simulate(model(), clients(5), Strategy(local=whole_batch(), aggregate=Median()), rounds=2, world=world)
    assert distance(median) < 0.05 * distance(mean)  # the attack is 100 times the honest step


def test_too_few_clients_stop_the_run_or_skip_the_round() -> None:
    world = World(faults={f"c{i}": Fault("raises", when=lambda number: number == 1) for i in (0, 1)})
    with pytest.raises(TooFewReplies, match="round 1: 3 of 5"):
        simulate(model(), clients(5), Strategy(aggregate=Krum(1)), rounds=3, world=world)
    found = simulate(model(), clients(5), Strategy(aggregate=Krum(1), guard=Guard(few="skip")), rounds=3, world=world)
    assert [line["skipped"] for line in found.history] == [False, True, False]


def test_data_that_the_model_cannot_take_is_its_client_s_failure(caplog: pytest.LogCaptureFixture) -> None:
    data = clients(4)
    data["c2"] = (torch.randn(5, 3), torch.zeros(5, dtype=torch.int64))
    found = simulate(model(), data, Strategy(), rounds=2)
    assert [line["who"] for line in found.history] == [{"c2": "died"}] * 2
    assert "client 'c2' does not count (died): it cannot train: RuntimeError: mat1 and mat2" in caplog.text
    with pytest.raises(TooFewReplies, match="'c2': it cannot train: RuntimeError"):
        simulate(model(), {"c2": data["c2"]}, Strategy(), rounds=1)


def test_attackers_need_somebody_to_look_at() -> None:
    with pytest.raises(BadParameter, match="at least one honest"):
        simulate(model(), clients(), Strategy(), 1, world=World(attackers=dict.fromkeys(clients(), Away())))


def test_a_killed_client_needs_a_process() -> None:
    with pytest.raises(BadParameter, match="process of its own"):
        simulate(model(), clients(), Strategy(), 1, world=World(faults={"c1": Fault("killed")}))


def test_words_for_what_cannot_be_simulated(tmp_path: Path) -> None:
    with pytest.raises(BadParameter, match="at least one client and one round"):
        simulate(model(), [], Strategy(), 1)
    with pytest.raises(BadParameter, match="inline or on ray"):
        simulate(model(), clients(), Strategy(), 1, engine="threads")
    with pytest.raises(BadParameter, match="'eve'"):
        simulate(model(), clients(), Strategy(), 1, world=World(attackers={"eve": Away()}))
    run(folder=tmp_path, rounds=1)
    with pytest.raises(BadParameter, match="holds another federation: strategy was"):
        run(folder=tmp_path, choose=Sample(2))
    with Folder(tmp_path), pytest.raises(OutputError, match="belongs to a server that is running"):
        run(folder=tmp_path)
    state = tmp_path / "state.safetensors"
    state.write_bytes(state.read_bytes()[:200])
    with pytest.raises(BrokenFile):
        run(folder=tmp_path)


KILLED = """
import sys
from tests.federate.test_simulate import run
import os, signal
from pathlib import Path
from loomweight.federate.folder import Folder
from loomweight.federate.pooling import Pool
def fatal(kind, name, last):
    method = getattr(kind, name)
    def dying(self, *given):
        if not last():
            return method(self, *given)
        if kind is Folder:
            method(self, *given)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(kind, name, dying)
calls = iter(range(99))
fatal(*{"saved": (Folder, "save"), "pooling": (Pool, "pool")}[sys.argv[2]], lambda: next(calls) == 2)
run(folder=Path(sys.argv[1]))
"""


@pytest.mark.parametrize("when", ["saved", "pooling"])
def test_killed_with_sigkill_it_goes_on_to_the_same_bits(when: str, tmp_path: Path) -> None:
    """Just after a state was saved, and in the middle of an aggregation."""
    root = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), when], cwd=root, capture_output=True, text=True, check=False)
    assert ended.returncode == -9, ended.stderr
    assert same(run(folder=tmp_path).weights, run().weights)
