"""The server by itself: the contract, the order of arrival, states in the middle of a round, weights and shares."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import permutations

import pytest
import torch
from torch import Tensor

from loomweight.errors import BadParameter, BadReply, TooFewReplies, UnknownName
from loomweight.federate import Guard, Lost, Message, Pool, Reply, Sample, Server, Strategy, Work, resumed, state_of_server
from loomweight.rules import Krum, Mean, Median, TrimmedMean
from loomweight.weights.plain_state import load_plain_state, save_plain_state

from .small import same

CLIENTS = ["ann", "bob", "cai", "dee", "eve"]
WEIGHTS = {"w": torch.zeros(3), "b": torch.ones(2)}


def update(value: float) -> dict[str, Tensor]:
    return {"w": torch.full((3,), value), "b": torch.full((2,), 10 * value)}


def served(strategy: Strategy, replies: dict[str, Callable[[Reply], Reply | Lost]] | None = None) -> Server:
    """A server whose clients have answered 1, 2, 3, 4, 5, but for those whose replies are changed."""
    server = Server(WEIGHTS, strategy, CLIENTS)
    for i, task in enumerate(server.tasks()):
        reply = Reply(task.client, task.round, update(i + 1.0), weight=1.0)
        server.push((replies or {}).get(task.client, lambda reply: reply)(reply))
    return server


def changed(**values: object) -> Callable[[Reply], Reply]:
    return lambda reply: replace(reply, **values)


def without(name: str) -> Callable[[Reply], Reply]:
    return lambda reply: replace(reply, update={key: tensor for key, tensor in reply.update.items() if key != name})


def holding(value: float) -> Callable[[Reply], Reply]:
    return lambda reply: replace(reply, update={**reply.update, "w": torch.tensor([0.0, value, 0.0])})


@pytest.mark.parametrize(
    ("code", "spoil", "words"),
    [
        ("names", without("b"), "'b'"),
        ("names", lambda reply: replace(reply, update={**reply.update, "c": torch.ones(1)}), "'c'"),
        ("shape", lambda reply: replace(reply, update={**reply.update, "w": torch.ones(1)}), r"'w' has shape \[1\] instead of \[3\]"),
        ("dtype", lambda reply: replace(reply, update={**reply.update, "w": torch.ones(3, dtype=torch.float64)}), "float64 instead of float32"),
        ("nonfinite", holding(float("nan")), "'w' holds NaN or Inf"),
        ("nonfinite", holding(float("inf")), "'w' holds NaN or Inf"),
        ("weight", changed(weight=float("nan")), "nan"),
        ("weight", changed(weight=-9.0), "-9.0"),
        ("weight", changed(weight=float("inf")), "inf"),
        ("died", lambda reply: Lost(reply.client, 0), "does not answer"),
        ("nothing", lambda reply: Lost(reply.client, 0, "nothing", "empty"), "empty"),
    ],
)
def test_a_bad_reply_is_named_and_counted_and_the_round_goes_on(code: str, spoil: Callable[[Reply], Reply | Lost], words: str) -> None:
    server = served(Strategy(), {"cai": spoil})
    [refusal] = server.refusals
    assert refusal.client == "cai" and refusal.code == code
    assert re.search(words, refusal.words)
    line = server.close()
    assert line["refused"] == {code: 1} and line["who"] == {"cai": code} and line["pooled"] == 4
    assert server.weights["w"].tolist() == [3.0, 3.0, 3.0]  # (1 + 2 + 4 + 5) / 4


class Unreadable(Message):
    def pack(self, update: dict[str, Tensor], work: Work) -> dict[str, Tensor]:
        return update

    def open(self, packed: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"w": packed["w"] if packed["w"][0] > 1 else packed["codes"], "b": packed["b"]}


def test_a_message_that_cannot_be_opened_is_its_client_s_fault_alone() -> None:
    server = served(Strategy(message=(Unreadable(),)))
    assert [(item.client, item.code) for item in server.refusals] == [("ann", "packed")] and server.close()["pooled"] == 4


def test_messages_and_updates_too_large_are_refused() -> None:
    assert served(Strategy(guard=Guard(largest_bytes=19))).refusals[0].code == "too-large"
    assert [item.client for item in served(Strategy(guard=Guard(largest_norm=60.0))).refusals] == ["eve"]  # |5 (1, 1, 1, 10, 10)| = 71


def test_what_nobody_waits_for_changes_nothing() -> None:
    server = served(Strategy())
    found = [
        server.push(Reply("ann", 0, update(9.0))),
        server.push(Reply("zed", 0, update(9.0))),
    ]
    server.close()
    server.tasks()
    found.append(server.push(Reply("ann", 0, update(9.0))))
    assert [item and item.code for item in found] == ["duplicate", "unknown", "old-round"]
    assert server.weights["w"].tolist() == [3.0, 3.0, 3.0] and not server.ready()


def test_a_reply_to_an_old_round_does_not_stand_for_the_new_one() -> None:
    server = served(Strategy())
    server.close()
    server.tasks()
    server.push(Reply("ann", 0, update(9.0)))
    server.push(Reply("ann", 1, update(1.0)))
    for client in CLIENTS[1:]:
        server.push(Reply(client, 1, update(1.0)))
    assert server.ready() and server.close()["pooled"] == 5


def test_the_guard_can_stop_at_a_bad_reply() -> None:
    with pytest.raises(BadReply, match=r"round 0: the reply of client 'bob' does not count: tensor 'w' holds NaN"):
        served(Strategy(guard=Guard(bad="stop")), {"bob": holding(float("nan"))})


@pytest.mark.parametrize("strategy", [Strategy(), Strategy(aggregate=Median()), Strategy(aggregate=Krum(1)), Strategy(guard=Guard(largest_share=0.3))])
def test_the_result_does_not_depend_on_the_order_of_arrival(strategy: Strategy) -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = [{name: torch.randn(tensor.shape, generator=generator) for name, tensor in WEIGHTS.items()} for _ in CLIENTS]
    sent = {client: Reply(client, 0, drawn[i], 1.0 + i) for i, client in enumerate(CLIENTS)}
    found = []
    for order in list(permutations(CLIENTS))[::17]:
        server = Server(WEIGHTS, strategy, CLIENTS)
        server.tasks()
        for client in order:
            server.push(sent[client])
        server.close()
        found.append(server.weights)
    assert len(found) > 5 and all(same(found[0], other) for other in found)


@pytest.mark.parametrize("rule", [Mean(), Median(), TrimmedMean(1)])
def test_a_half_finished_round_is_saved_and_goes_on_to_the_same_bits(rule: Mean | Median | TrimmedMean, tmp_path: object) -> None:
    straight = served(Strategy(aggregate=rule))
    straight.close()
    server = Server(WEIGHTS, Strategy(aggregate=rule), CLIENTS)
    server.tasks()
    for i in (3, 0):  # dee's answer waits for those of bob and cai
        server.push(Reply(CLIENTS[i], 0, update(i + 1.0)))
    save_plain_state(state_of_server(server), f"{tmp_path}/half.safetensors", "half")
    again = resumed(WEIGHTS, Strategy(aggregate=rule), load_plain_state(f"{tmp_path}/half.safetensors", "half"))
    for i in (4, 2, 1):
        again.push(Reply(CLIENTS[i], 0, update(i + 1.0)))
    assert again.ready() and again.close() == straight.history[0]
    assert same(again.weights, straight.weights)


def test_a_mean_keeps_one_model_whatever_comes() -> None:
    server = served(Strategy())
    assert set(server.held) == {"sum", "weights"} and not server._waiting
    assert "replies" in served(Strategy(aggregate=Median())).held


def test_examples_weigh_and_no_client_has_more_than_its_share() -> None:
    heavy = {"eve": changed(weight=96.0)}
    plain = served(Strategy(), heavy)
    plain.close()
    assert plain.weights["w"][0] == pytest.approx((1 + 2 + 3 + 4 + 96 * 5) / 100)
    cut = served(Strategy(guard=Guard(largest_share=0.5)), heavy)
    cut.close()
    assert cut.weights["w"][0] == pytest.approx((1 + 2 + 3 + 4) / 8 + 5 / 2)
    median = served(Strategy(aggregate=Median()), heavy)
    median.close()
    assert median.weights["w"][0] == 5.0  # more than half of the examples are eve's
    alike = served(Strategy(aggregate=Pool(Median(), counts=False)), heavy)
    alike.close()
    assert alike.weights["w"][0] == 3.0


def test_a_robust_rule_says_its_bound_when_too_few_are_left() -> None:
    dead = {client: (lambda reply: Lost(reply.client, 0)) for client in ("ann", "bob")}
    server = served(Strategy(aggregate=Krum(1)), dead)
    with pytest.raises(TooFewReplies, match=r"3 of 5 replies count.*n >= 2 f \+ 3.*at least 5.*'ann', 'bob'"):
        server.close()
    skipping = served(Strategy(aggregate=Krum(1), guard=Guard(few="skip")), dead)
    assert skipping.close()["skipped"] and skipping.weights["w"].tolist() == [0.0] * 3 and skipping.round == 1


def test_a_refused_reply_is_one_of_the_bad_ones_that_a_rule_bears() -> None:
    server = served(Strategy(aggregate=Krum(1)), {"eve": holding(float("nan"))})
    assert server.close()["pooled"] == 4  # Krum(0) of four; a client that merely died would leave too few


def test_tensors_become_what_their_patterns_say() -> None:
    table = {"keep": "keep", "most": "max", "all": "sum", "alike": "mean"}
    weights = {name: torch.zeros(1) for name in ("pooled", *table)} | {"bn.num_batches_tracked": torch.tensor(5)}
    server = Server(weights, Strategy(aggregate=Median(), tensors=table), CLIENTS)
    for i, task in enumerate(server.tasks()):
        assert set(task.weights) == set(weights) - {"keep"}
        server.push(Reply(task.client, 0, {name: torch.full_like(tensor, [1, 2, 3, 4, 90][i]) for name, tensor in task.weights.items()}, weight=i + 1.0))
    server.close()
    found = {name: tensor.item() for name, tensor in server.weights.items()}
    assert found == {"pooled": 4.0, "keep": 0.0, "most": 90.0, "all": 100.0, "alike": pytest.approx(480 / 15), "bn.num_batches_tracked": 95}
    assert server.weights["bn.num_batches_tracked"].dtype == torch.int64


def test_words_and_patterns_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BadParameter, match="pool, mean, sum, max, keep, local, found 'average'"):
        Server(WEIGHTS, Strategy(tensors={"w": "average"}), CLIENTS)
    with pytest.raises(UnknownName, match=r"'head.\*'.*'b', 'w'"):
        Server(WEIGHTS, Strategy(tensors={"head.*": "local"}), CLIENTS)
    with pytest.raises(BadParameter, match="integers are never averaged"):
        Server({"n": torch.tensor(3)}, Strategy(tensors={"n": "mean"}), CLIENTS)


def test_a_narrow_mean_is_rounded_once() -> None:
    """100 clients in bfloat16: within one rounding of the exact mean, where adding in bfloat16 is off by many."""
    generator = torch.Generator().manual_seed(1)
    updates = [torch.randn(500, generator=generator).bfloat16() for _ in range(100)]
    names = [str(i) for i in range(100)]
    server = Server({"w": torch.zeros(500, dtype=torch.bfloat16)}, Strategy(), names)
    server.tasks()
    for name, tensor in zip(names, updates, strict=True):
        server.push(Reply(name, 0, {"w": tensor}, weight=1e4))
    server.close()
    exact = torch.stack(updates).double().mean(0)
    assert server.weights["w"].dtype == torch.bfloat16
    assert ((server.weights["w"].double() - exact).abs() <= 2.0**-8 * exact.abs() + 1e-9).all()  # half a unit of bfloat16, and float32's noise near 0
    naive = sum(updates[1:], updates[0].clone()) / 100
    assert ((naive.double() - exact).abs() > 2.0**-8 * exact.abs() + 1e-9).any()


def test_a_sample_is_of_the_seed_alone() -> None:
    drawn = [tuple(task.client for task in Server(WEIGHTS, Strategy(choose=Sample(2)), CLIENTS, seed=seed).tasks()) for seed in (0, 0, 1, 2, 3)]
    assert drawn[0] == drawn[1] and len(set(drawn)) > 1 and all(len(chosen) == 2 for chosen in drawn)
