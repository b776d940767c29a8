"""What a stranger may send, and what a careless caller may say: each is named, and nothing falls over."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch

from loomweight.errors import BadParameter, NonFinite, UnknownName
from loomweight.federate import Fault, Guard, Local, Reply, Server, Strategy, fed_adam
from loomweight.federate.spoken import Spoken

WEIGHTS = {"w": torch.zeros(2), "b": torch.zeros(1)}


@pytest.fixture(autouse=True)
def _a_user_has_no_beartype(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def ones() -> dict[str, torch.Tensor]:
    return {"w": torch.ones(2), "b": torch.ones(1)}


def served(changes: dict[str, Any], strategy: Strategy | None = None) -> Server:
    """Three clients have answered; the first with these changes."""
    server = Server(WEIGHTS, strategy or Strategy(), ["ann", "bob", "cai"])
    for task in server.tasks():
        reply = Reply(task.client, task.round, ones())
        server.push(replace(reply, **changes) if task.client == "ann" else reply)
    return server


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("names", {"update": None}),
        ("names", {"update": [torch.ones(2)]}),
        ("names", {"update": {0: torch.ones(2)}}),
        ("dtype", {"update": {"w": [1.0, 1.0], "b": torch.ones(1)}}),
        ("dtype", {"update": {"w": np.ones(2, np.float32), "b": torch.ones(1)}}),
        ("dtype", {"update": {"w": torch.ones(2, device="meta"), "b": torch.ones(1)}}),
        ("dtype", {"update": {"w": torch.ones(2).to_sparse(), "b": torch.ones(1)}}),
        ("names", {"extra": None}),
        ("names", {"extra": {"Scaffold": "words"}}),
        ("dtype", {"extra": {"Scaffold": {"w": 1.0}}}),
        ("names", {"metrics": None}),
        ("dtype", {"metrics": {"loss": "low"}}),
        ("dtype", {"metrics": {3: 1.0}}),
        ("dtype", {"metrics": {"loss": torch.ones(3)}}),
        ("dtype", {"metrics": {"loss": 10**400}}),
        ("weight", {"weight": 10**400}),
        ("weight", {"weight": 1e300}),
        ("weight", {"weight": 1e39}),
        ("weight", {"weight": torch.tensor(1.0)}),
    ],
)
def test_what_is_no_reply_is_refused_and_the_others_are_pooled(code: str, changes: dict[str, Any]) -> None:
    line = served(changes).close()
    assert line["refused"] == {code: 1} and line["who"] == {"ann": code} and line["pooled"] == 2


@pytest.mark.parametrize("changes", [{"number": torch.ones(2)}, {"round": "0"}, {"client": ["ann"]}, {"client": None}])
def test_an_answer_that_cannot_be_told_whose_it_is_leaves_its_client_late(changes: dict[str, Any]) -> None:
    line = served(changes).close()
    assert line["pooled"] == 2 and line["who"]["ann"] == "late"


def test_metrics_do_not_write_over_the_line_of_the_round_nor_spoil_its_means() -> None:
    server = Server(WEIGHTS, Strategy(), ["ann", "bob"])
    for task, metrics in zip(server.tasks(), ({"round": 9.0, "who": 1.0, "loss": float("nan"), "none": float("nan")}, {"loss": 4.0}), strict=True):
        server.push(Reply(task.client, task.round, ones(), metrics=metrics))
    line = server.close()
    assert (line["round"], line["who"]) == (0, {})
    assert line["loss"] == 4.0 and line["none"] != line["none"]  # the mean over those that gave a number; NaN where nobody did


def test_a_graph_that_hangs_on_an_update_is_let_go() -> None:
    server = served({"update": {"w": torch.ones(2, requires_grad=True), "b": torch.ones(1)}})
    server.close()
    assert not server.weights["w"].requires_grad


def test_the_state_of_the_aggregate_is_kept_where_a_round_cannot_be_closed() -> None:
    server = served({"update": {"w": torch.full((2,), 3e38), "b": torch.ones(1)}, "weight": 100.0}, Strategy(aggregate=fed_adam(0.1)))
    before = server.pooling
    with pytest.raises(NonFinite):
        server.close()
    assert server.pooling is before and torch.equal(server.weights["w"], WEIGHTS["w"])


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (Guard, {"deadline": "3"}, "deadline is a number, found '3'"),
        (Guard, {"largest_bytes": "1MB"}, "largest_bytes is a number"),
        (Guard, {"fewest": float("nan")}, "fewest is a whole number"),
        (Guard, {"stale": 1.5}, "stale is a whole number"),
        (Local, {"epochs": 1.5}, "epochs is a whole number"),
        (Local, {"batch": "3"}, "batch is a whole number"),
        (Local, {"steps": True}, "steps is a whole number"),
        (Strategy, {"local": {"epochs": 1}}, "expected a Local"),
        (Strategy, {"guard": {"few": "skip"}}, "expected a Guard"),
        (Strategy, {"tensors": ["w"]}, "expected a Mapping"),
    ],
)
def test_settings_of_the_wrong_kind_are_named(make: Callable[..., object], options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadParameter, match=words):
        make(**options)


def test_a_fault_of_another_kind_is_told() -> None:
    with pytest.raises(UnknownName, match="explodes"):
        Fault("explodes")


@pytest.mark.parametrize(
    "words", ["mean\0", "(" * 5000, "-" * 100_000 + "1", "server_optimizer(adam(lr='x'))", "server_optimizer(sgd(lr=-1))", "server_optimizer(sgd(speed=1))"]
)
def test_words_that_cannot_be_read_are_one_of_our_errors(words: str) -> None:
    with pytest.raises(BadParameter):
        Spoken(aggregate=words).strategy()
