"""What an aggregate may ask of clients and tell them, and clients whose models differ."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from loomweight.errors import BadParameter, UnknownName
from loomweight.federate import Aggregate, Book, Federation, Local, Pool, Reply, Server, Strategy, Term, Work, World, simulate
from loomweight.federate.plain import Plain, Tensors
from loomweight.federate.pooling.aggregate import kept

from .small import clients, same


@dataclass(frozen=True)
class Echo(Term):
    """Sends back what the client was told."""

    def finish(self, work: Work) -> Tensors:
        return {"heard": work.told["number"] + 1}


@dataclass(frozen=True)
class Numbers(Pool):
    """Tells each client a number, and takes only replies with a greater one."""

    def start(self, weights: Tensors) -> Plain:
        return {"told": {"c0": 1.0, "c1": 2.0, "c2": 3.0}}

    def tells(self, state: Plain, client: str) -> Tensors:
        return {"number": torch.tensor(state["told"][client])}

    def wrong(self, reply: Reply) -> str | None:
        return None if "Echo" in reply.extra else "it has no echo"

    def add(self, held: Plain, reply: Reply, weights: Tensors) -> None:
        held.setdefault("heard", {})[reply.client] = reply.extra["Echo"]["heard"].item()
        super().add(held, reply, weights)

    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        return super().pool(weights, held, {"told": held["heard"]}, book)


def test_a_client_is_told_its_own_and_a_reply_that_lacks_what_is_needed_is_refused() -> None:
    server = Server({"w": torch.zeros(2)}, Strategy(aggregate=Numbers(), objective=(Echo(),)), ["c0", "c1", "c2"])
    tasks = server.tasks()
    assert [task.shared["aggregate"]["number"].item() for task in tasks] == [1.0, 2.0, 3.0]
    whole = [Reply(task.client, 0, {"w": torch.ones(2)}, extra={"Echo": {"heard": torch.tensor(0.0)}}) for task in tasks]
    refusal = server.push(replace(whole[0], extra={}))
    assert refusal and (refusal.client, refusal.code, refusal.words) == ("c0", "names", "it has no echo")
    assert server.push(whole[1]) is None


def test_what_cannot_be_read_is_its_client_s_fault_alone() -> None:
    class Comparing(Numbers):
        def wrong(self, reply: Reply) -> str | None:
            return None if reply.extra["Echo"]["heard"] > 0 else "not positive"

    server = Server({"w": torch.zeros(2)}, Strategy(aggregate=Comparing(), objective=(Echo(),)), ["c0", "c1", "c2"])
    server.tasks()
    for client, extra in (("c0", {"heard": torch.tensor(1j)}), ("c1", {})):
        refusal = server.push(Reply(client, 0, {"w": torch.ones(2)}, extra={"Echo": extra}))
        assert refusal and refusal.client == client and "cannot be read" in refusal.words


def test_what_a_client_is_told_reaches_its_terms() -> None:
    seen = simulate(nn.Linear(4, 2), clients(), Strategy(aggregate=Numbers(), objective=(Echo(),)), rounds=2)
    assert [line["pooled"] for line in seen.history] == [3, 3] and seen.history[0]["refused"] == {}


@dataclass(frozen=True)
class EachItsOwn(Aggregate):
    """Clients c0 have the first tensors alone."""

    partial = True

    def down(self, weights: Tensors, state: Plain, client: str) -> Tensors:
        return {name: tensor for name, tensor in weights.items() if client != "c0" or not name.startswith("1.")}

    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        book.notes |= {f"{reply.client} sends": float(len(reply.update)) for reply in kept(held)}
        return {name: weights[name] + sum(reply.update[name] for reply in kept(held) if name in reply.update) for name in weights}, state


def deep() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 2))


def of_two_depths(engine: str = "inline") -> Federation:
    world = World(models={"c0": nn.Sequential(deep()[0])})
    return simulate(deep(), clients(), Strategy(aggregate=EachItsOwn()), rounds=2, world=world, engine=engine)


def test_clients_may_have_a_part_of_the_model() -> None:
    found = of_two_depths()
    assert [found.history[1][f"c{i} sends"] for i in range(3)] == [2, 4, 4]
    assert found.history[0]["bytes_down"] == (10 + 16 + 16) * 4


@pytest.mark.slow
def test_models_of_clients_go_to_workers_too() -> None:
    assert same(of_two_depths().weights, of_two_depths("ray:2").weights)


def test_what_becomes_of_tensors_may_name_those_that_a_client_lacks() -> None:
    world = World(models={"c0": nn.Sequential(deep()[0])})
    found = simulate(deep(), clients(), Strategy(aggregate=EachItsOwn(), tensors={"1.bias": "keep"}), rounds=1, world=world)
    assert torch.equal(found.weights["1.bias"], deep().state_dict()["1.bias"]) and found.history[0]["pooled"] == 3
    with pytest.raises(UnknownName, match=r"'2.bias'"):
        simulate(deep(), clients(), Strategy(aggregate=EachItsOwn(), tensors={"2.bias": "keep"}), rounds=1, world=world)


def test_a_mean_beside_the_aggregate_is_of_the_clients_that_have_the_tensor() -> None:
    server = Server({"a": torch.zeros(1), "b": torch.zeros(1)}, Strategy(aggregate=EachItsOwn(), tensors={"b": "mean"}), ["c0", "c1", "c2"])
    server.tasks()
    server.push(Reply("c0", 0, {"a": torch.ones(1)}, 50.0))
    server.push(Reply("c1", 0, {"a": torch.ones(1), "b": torch.tensor([1.0])}, 1.0))
    server.push(Reply("c2", 0, {"a": torch.ones(1), "b": torch.tensor([5.0])}, 3.0))
    server.close()
    assert server.weights["b"].item() == 4.0  # (1 + 3 * 5) / 4


def test_a_model_for_a_client_that_is_none_is_refused() -> None:
    with pytest.raises(BadParameter, match=r"'zed'.*a model"):
        simulate(deep(), clients(), Strategy(local=Local()), 1, world=World(models={"zed": deep()}))
