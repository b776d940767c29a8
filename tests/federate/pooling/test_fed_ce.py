"""FedCE: values by hand, what clients measure, and whom it favours."""

from pathlib import Path

import pytest
import torch
from torch import nn

from loomweight.errors import BadParameter
from loomweight.federate import FedCE, Federation, LeaveOneOut, Sample, Server, Strategy, Task, Trainer, simulate
from loomweight.federate.pooling.fed_ce import leave_one_out_cosines
from tests.federate import small

from .served import pooled, reply


def answer(client: str, number: int, values: list[float], error: float):
    return reply(client, number, values, LeaveOneOut={"error": torch.tensor(error, dtype=torch.float64)})


def test_values_by_hand() -> None:
    """a and b send (1, 0), c sends (0, 1): the others of a point to (1, 1), so cos is 1/sqrt 2; those of c to (1, 0), so 0."""
    first = {c: answer(c, 0, values, 1.0) for c, values in (("a", [1.0, 0.0]), ("b", [1.0, 0.0]), ("c", [0.0, 1.0]))}
    unlike = 1 - 0.5**0.5
    share = [(part / (2 * unlike + 1) + 1 / 3) / 2 for part in (unlike, unlike, 1.0)]
    server = pooled(FedCE(), {"w": torch.zeros(2)}, [first], (LeaveOneOut(),))
    assert server.weights["w"].tolist() == pytest.approx([share[0] + share[1], share[2]])
    assert server.history[0]["contribution of c"] == pytest.approx(share[2])
    assert [task.shared["aggregate"]["share"].item() for task in server.tasks()] == pytest.approx(share)
    product = pooled(FedCE(mode="times"), {"w": torch.zeros(2)}, [first], (LeaveOneOut(),))
    assert product.weights["w"][1].item() == pytest.approx(1 / (2 * unlike + 1))


def test_the_second_round_looks_back() -> None:
    """Cosines are means over the rounds, and the others count by their last shares."""
    rounds = [{c: answer(c, n, values, 1.0) for c, values in (("a", [1.0, 0.0]), ("b", [1.0, 0.0]), ("c", [0.0, 1.0]))} for n in range(2)]
    one, two = (pooled(FedCE(), {"w": torch.zeros(2)}, rounds[:n], (LeaveOneOut(),)) for n in (1, 2))
    share = one.pooling["share"]
    expected = (0.5**0.5 + share["b"] / (share["b"] ** 2 + share["c"] ** 2) ** 0.5) / 2
    assert two.pooling["cosine"]["a"] == pytest.approx(expected) and two.pooling["rounds"] == {"a": 2, "b": 2, "c": 2}


def test_cosines_are_those_of_the_vectors() -> None:
    rows = torch.randn(5, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    prior = torch.tensor([0.1, 0.3, 0.2, 0.25, 0.15], dtype=torch.float64)
    expected = [torch.cosine_similarity(rows[i], prior @ rows - prior[i] * rows[i], dim=0) for i in range(5)]
    torch.testing.assert_close(leave_one_out_cosines(rows @ rows.T, prior), torch.stack(expected))
    assert leave_one_out_cosines(torch.diag(torch.tensor([1.0, 0.0])), torch.tensor([0.5, 0.5])).tolist() == [0.0, 0.0]


def test_a_client_measures_the_model_without_itself() -> None:
    """The received model is 0.25 of its own and 0.75 of the others', which says 1 of everything: the error is the part of zeros."""
    model = nn.Linear(1, 2, bias=False)
    strategy = Strategy(objective=(LeaveOneOut(),))
    trainer = Trainer(model, strategy)
    data = torch.ones(4, 1), torch.tensor([0, 1, 1, 1])
    others, own = torch.tensor([[0.0], [8.0]]), torch.tensor([[800.0], [0.0]])
    memory = {"LeaveOneOut": {"trained": {"weight": own}, "error": 1.0, "rounds": 1}}
    shared = {"aggregate": {"share": torch.tensor(0.25, dtype=torch.float64)}, "LeaveOneOut": {}}
    found, kept = trainer(data, Task("a", 1, {"weight": 0.25 * own + 0.75 * others}, shared), memory)
    assert found.extra["LeaveOneOut"]["error"].item() == pytest.approx((1.0 + 0.25) / 2)
    assert kept["LeaveOneOut"]["rounds"] == 2 and torch.equal(kept["LeaveOneOut"]["trained"]["weight"], trainer.model.weight.detach())
    fresh, _ = trainer(data, Task("a", 0, {"weight": others}), {})
    assert fresh.extra["LeaveOneOut"]["error"].item() == 1.0


def test_who_has_what_no_other_has_counts_more_and_a_copy_less() -> None:
    """Three clients with one half of a law, one alone with the other half: the paper's client of another scanner."""
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(160, 6, generator=generator)
    common = (inputs, (inputs[:, 0] > 0).long())
    other = (inputs, (inputs[:, 1] > 0).long())
    clients = {**{f"like{i}": tuple(part[40 * i : 40 * i + 40] for part in common) for i in range(3)}, "unlike": tuple(part[120:] for part in other)}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Linear(6, 2)
    found = simulate(model, clients, Strategy(aggregate=FedCE(), objective=(LeaveOneOut(),)), rounds=6)
    shares = [found.last(f"contribution of {client}") for client in clients]
    assert sum(shares) == pytest.approx(1.0) and shares[3] > 0.35 > 0.25 > max(shares[:3])


def test_what_clients_remember_goes_on_in_a_folder_to_the_same_bits(tmp_path: Path) -> None:
    def run(rounds: int, folder: Path | None = None) -> Federation:
        strategy = Strategy(choose=Sample(2), aggregate=FedCE(), objective=(LeaveOneOut(),))
        return simulate(small.model(), small.clients(), strategy, rounds, folder=folder)

    run(2, tmp_path)
    pieces, straight = run(4, tmp_path), run(4)
    assert small.same(pieces.weights, straight.weights) and pieces.history == straight.history


def test_it_is_no_defence() -> None:
    """A corrupted client is as unlike the others as can be, and gains: what the docstring says."""
    good = {f"c{i}": answer(f"c{i}", 0, [1.0, 0.1 * i, 0.0], 1.0) for i in range(4)}
    server = pooled(FedCE(), {"w": torch.zeros(3)}, [{**good, "bad": answer("bad", 0, [-1.0, 0.0, 5.0], 1.0)}], (LeaveOneOut(),))
    assert server.history[0]["contribution of bad"] > 0.25 > max(server.history[0][f"contribution of c{i}"] for i in range(4))


def test_a_reply_without_its_error_is_refused() -> None:
    server = Server({"w": torch.zeros(2)}, Strategy(aggregate=FedCE(), objective=(LeaveOneOut(),)), ["a"])
    server.tasks()
    refusal = server.push(reply("a", 0, [1.0, 1.0]))
    assert refusal and "add LeaveOneOut()" in refusal.words
    assert FedCE().wrong(answer("a", 0, [1.0, 1.0], -1.0))
    with pytest.raises(BadParameter, match="plus or times, found 'both'"):
        FedCE(mode="both")
