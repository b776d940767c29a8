"""What a stranger may send, and what a careless caller may say: each is named, and nothing falls over."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch

from loomweight.errors import BadParameter, NonFinite, UnknownName
from loomweight.federate import (
    Available,
    ByLoss,
    Fault,
    GaussianNoise,
    Guard,
    Local,
    Lost,
    Message,
    Only,
    Reply,
    Server,
    Speeds,
    Strategy,
    Work,
    World,
    fed_adam,
    private,
    resumed,
    simulate,
    state_of_server,
)
from loomweight.federate.spoken import Spoken
from loomweight.weights.plain_state import load_plain_state, save_plain_state

from .small import clients, model

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


class Some(Message):
    """What a client leaves out is left out."""

    partial = True

    def pack(self, update: dict[str, torch.Tensor], work: Work) -> dict[str, torch.Tensor]:
        return update


def in_part(strategy: Strategy, weight: float = 1.0) -> Server:
    """Ann sends both tensors, bob but one."""
    server = Server(WEIGHTS, strategy, ["ann", "bob"])
    for task, update in zip(server.tasks(), (ones(), {"w": torch.ones(2)}), strict=True):
        server.push(Reply(task.client, task.round, update, weight=weight if task.client == "ann" else 1.0))
    return server


@pytest.mark.parametrize("tensors", [{}, {"b": "mean"}])
def test_a_mean_divides_each_tensor_by_the_weight_of_those_that_sent_it(tensors: dict[str, str]) -> None:
    server = in_part(Strategy(message=[Some()], tensors=tensors))
    server.close()
    assert server.weights["b"].tolist() == [1.0] and server.weights["w"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("tensors", [{}, {"b": "mean"}])
def test_a_tensor_that_nobody_with_a_weight_sent_stays(tensors: dict[str, str]) -> None:
    server = in_part(Strategy(message=[Some()], tensors=tensors), weight=0.0)
    server.close()
    assert server.weights["b"].tolist() == [0.0] and server.weights["w"].tolist() == [1.0, 1.0]


def test_a_server_optimizer_keeps_its_state_by_tensor_where_some_lack() -> None:
    server = Server(WEIGHTS, Strategy(message=[Some()], aggregate=fed_adam(0.1)), ["ann"])
    for names in (("w", "b"), ("w",), ("b",), ("b", "w")):
        before = server.weights
        for task in server.tasks():
            server.push(Reply(task.client, task.round, {name: ones()[name] for name in names}))
        server.close()
        assert {name for name in WEIGHTS if not torch.equal(before[name], server.weights[name])} == set(names)


@pytest.mark.parametrize("update", [{}, {"b": torch.ones(1)}, ones()])
def test_clients_have_no_say_in_tensors_that_only_go_down(update: dict[str, torch.Tensor]) -> None:
    server = Server(WEIGHTS, Strategy(message=[Only(["w"])]), ["ann", "bob"])
    for task, sent in zip(server.tasks(), (update, {"w": torch.ones(2)}), strict=True):
        server.push(Reply(task.client, task.round, sent))
    assert server.close()["who"] == {"ann": "packed"}
    assert server.weights["b"].tolist() == [0.0] and server.weights["w"].tolist() == [1.0, 1.0]


def test_a_client_called_kind_is_still_there_in_a_state_that_is_read_back(tmp_path: Path) -> None:
    server = Server(WEIGHTS, Strategy(), ["kind", "bob"])
    server.tasks()
    server.push(Lost("kind", 0))
    save_plain_state(state_of_server(server), tmp_path / "state.safetensors", "test")
    again = resumed(WEIGHTS, Strategy(), load_plain_state(tmp_path / "state.safetensors", "test"))
    assert again.book.lost == {"kind": "died"}


def test_tensors_of_a_state_whose_paths_read_alike_are_kept_apart(tmp_path: Path) -> None:
    state = {"a": {"b/c": torch.ones(1), "b": {"c": torch.full((1,), 3.0)}}, "a/b": {"c": torch.zeros(1)}}
    save_plain_state(state, tmp_path / "state.safetensors", "test")
    found = load_plain_state(tmp_path / "state.safetensors", "test")
    assert (found["a"]["b/c"].item(), found["a"]["b"]["c"].item(), found["a/b"]["c"].item()) == (1.0, 3.0, 0.0)


def test_a_federation_of_numbers_for_names_is_told() -> None:
    with pytest.raises(BadParameter, match="the names of clients are words, found 0"):
        simulate(model(), dict(enumerate(clients().values())), Strategy(), 1)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("options", [{"every": 0}, {"seed": -1}])
def test_a_world_of_numbers_that_cannot_be_is_told(options: dict[str, Any]) -> None:
    with pytest.raises(BadParameter, match="World: every is at least 1"):
        World(**options)


class Made(dict[str, Any]):
    """Data that are made when they are asked for."""

    asked = 0

    def __getitem__(self, name: str) -> Any:
        self.asked += 1
        return super().__getitem__(name)

    def values(self) -> Iterator[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        raise AssertionError("all data at once")


def test_data_are_made_once_for_a_task() -> None:
    made = Made(clients())
    simulate(model(), made, Strategy(), 2)
    assert made.asked == 2 * len(made)


@pytest.mark.parametrize("choose", [ByLoss(2, rounds=5), Available(Speeds(), ByLoss(2, rounds=5))])
def test_a_choice_by_what_clients_said_of_their_data_is_not_private(choose: Any) -> None:
    noise = GaussianNoise(multiplier=1.0, clip=1.0, expected=2, delta=None)
    with pytest.raises(BadParameter, match="ByLoss chooses by what clients have said"):
        private(Strategy(choose=choose), noise)
    assert private(Strategy(choose=Available(Speeds())), noise)
