"""What every aggregate keeps to: the order of arrival, saved and resumed states, rounds in which nothing happened, and what it is given."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import pytest
import torch
from torch import nn

from loomweight.federate import (
    IDA,
    Aggregate,
    AnalyticHead,
    EachStep,
    FedAU,
    FedCAC,
    FedCE,
    FedDA,
    FedDisco,
    FedGP,
    FedLAW,
    InCo,
    LabelCounts,
    LeaveOneOut,
    PrincipalDirections,
    Reply,
    RidgeHead,
    Server,
    Strategy,
    Term,
    TrainingAccuracy,
    VarianceCorrected,
    analytic,
    fed_adagrad,
    fed_adam,
    fed_yogi,
    resumed,
    server_momentum,
    state_of_server,
)
from loomweight.weights.plain_state import load_plain_state, save_plain_state
from tests.federate.small import same

CLIENTS = ["ann", "bob", "cai", "dee"]
WEIGHTS = {"0.weight": torch.linspace(-1, 1, 12).view(3, 4), "0.bias": torch.tensor([0.1, -0.2, 0.3])}
PROXY = (torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3)


@dataclass(frozen=True)
class Row:
    """An aggregate with the terms it needs; whether weights stay where all updates are 0."""

    aggregate: Aggregate
    terms: tuple[Term, ...] = ()
    still: bool = True


ROWS = {
    "server_momentum": Row(server_momentum()),
    "fed_adam": Row(fed_adam()),
    "fed_yogi": Row(fed_yogi()),
    "fed_adagrad": Row(fed_adagrad()),
    "FedAU": Row(FedAU(cutoff=2)),
    "FedDisco": Row(FedDisco(3), (LabelCounts(3),)),
    "IDA": Row(IDA(accuracy=True), (TrainingAccuracy(),)),
    "FedGP": Row(FedGP("bob"), (EachStep(["bob"]),)),
    "FedDA": Row(FedDA("bob"), (EachStep(["bob"]),)),
    "FedCE": Row(FedCE(), (LeaveOneOut(),)),
    "FedLAW": Row(FedLAW(nn.Sequential(nn.Linear(4, 3)), PROXY, epochs=2), still=False),
    "FedCAC": Row(FedCAC(until=2)),
    "InCo": Row(InCo(mix={"0.bias": "0.bias"})),
    "VarianceCorrected": Row(VarianceCorrected()),
    "PrincipalDirections": Row(PrincipalDirections()),
    "AnalyticHead": Row(AnalyticHead("0"), (RidgeHead("0"),), still=False),
}
every_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)


def answer(row: Row, client: str, number: int, scale: float = 1.0) -> Reply:
    """Always the same for a client and a round, with all that the terms would send."""
    generator = torch.Generator().manual_seed(100 * number + CLIENTS.index(client))
    update = {name: scale * torch.randn(tensor.shape, generator=generator) for name, tensor in WEIGHTS.items()}
    inputs = torch.randn(6, 4, generator=generator)
    extra = {
        "LabelCounts": {"counts": torch.randint(1, 9, (3,), generator=generator)},
        "TrainingAccuracy": {"accuracy": torch.rand(1, generator=generator)},
        "LeaveOneOut": {"error": torch.rand(1, generator=generator)},
        "EachStep": {n: scale * torch.randn(3, *t.shape, generator=generator) for n, t in WEIGHTS.items()} if client == "bob" else {},
        "RidgeHead": analytic(torch.cat([inputs, torch.ones(6, 1)], 1), torch.arange(6) % 3, 3),
    }
    keys = {term.key for term in row.terms}
    return Reply(client, number, update, 1.0 + CLIENTS.index(client), {key: sent for key, sent in extra.items() if key in keys and sent}, {"steps": 3.0})


def fresh(row: Row) -> Server:
    return Server(WEIGHTS, Strategy(aggregate=row.aggregate, objective=row.terms), CLIENTS)


def rounds(server: Server, row: Row, until: int, orders: Mapping[int, tuple[str, ...]] | None = None) -> Server:
    while server.round < until:
        if not server.book.asked:
            server.tasks()
        for client in (orders or {}).get(server.round, tuple(CLIENTS)):
            if client not in server.book.answered and not (client == "cai" and server.round == 1):  # who misses a round
                assert server.push(answer(row, client, server.round)) is None
        server.close()
    return server


@every_row
def test_the_order_of_arrival_does_not_matter(row: Row) -> None:
    straight = rounds(fresh(row), row, 3)
    other = rounds(fresh(row), row, 3, dict(enumerate(list(permutations(CLIENTS))[5::7])))
    assert same(straight.weights, other.weights)
    assert not same(straight.weights, WEIGHTS) and all(torch.isfinite(tensor).all() for tensor in straight.weights.values())


@every_row
def test_a_state_in_the_middle_of_a_round_goes_on_to_the_same_bits(row: Row, tmp_path: Path) -> None:
    straight = rounds(fresh(row), row, 4)
    server = rounds(fresh(row), row, 2)
    server.tasks()
    server.push(answer(row, "dee", 2))
    server.push(answer(row, "ann", 2))
    save_plain_state(state_of_server(server), tmp_path / "half.safetensors", "half")
    again = resumed(WEIGHTS, Strategy(aggregate=row.aggregate, objective=row.terms), load_plain_state(tmp_path / "half.safetensors", "half"))
    rounds(again, row, 4)
    assert same(straight.weights, again.weights) and straight.history == again.history


@every_row
def test_nothing_that_is_given_is_changed_and_nothing_happens_by_itself(row: Row) -> None:
    server = fresh(row)
    before = {name: tensor.clone() for name, tensor in server.weights.items()}
    given = {client: answer(row, client, 0, scale=0.0) for client in CLIENTS}
    copies = {client: {name: tensor.clone() for name, tensor in reply.update.items()} for client, reply in given.items()}
    server.tasks()
    held = server.weights
    for reply in given.values():
        server.push(reply)
    server.close()
    assert same(held, before) and all(same(given[client].update, copies[client]) for client in CLIENTS)
    if row.still:
        for name in before:
            torch.testing.assert_close(server.weights[name], before[name], rtol=1e-6, atol=1e-7)  # the stretch of a variance is rounded
    assert {name: tensor.dtype for name, tensor in server.weights.items()} == dict.fromkeys(WEIGHTS, torch.float32)


@every_row
def test_narrow_weights_stay_narrow(row: Row) -> None:
    if row.terms or isinstance(row.aggregate, FedLAW):
        return  # what their terms send is of another type
    server = Server({name: tensor.bfloat16() for name, tensor in WEIGHTS.items()}, Strategy(aggregate=row.aggregate), CLIENTS)
    server.tasks()
    for client in CLIENTS:
        whole = answer(row, client, 0)
        server.push(Reply(client, 0, {name: tensor.bfloat16() for name, tensor in whole.update.items()}))
    server.close()
    assert {tensor.dtype for tensor in server.weights.values()} == {torch.bfloat16}


def test_only_sums_are_looked_at_where_that_is_said() -> None:
    assert {name for name, row in ROWS.items() if row.aggregate.sums} == {"server_momentum", "fed_adam", "fed_yogi", "fed_adagrad"}
