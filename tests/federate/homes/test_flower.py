"""A strategy in Flower, with Flower's own messages and apps in one process: faults, resuming, names, clients asked one by one."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import Strategy as FlowerStrategy
from torch import Tensor, nn

from loomweight.errors import BadParameter, BadReply, OutputError, TooFewReplies
from loomweight.federate import Aggregate, Guard, Local, Pool, Sample, Strategy, Term, World, flower, flower_client, simulate
from loomweight.federate.folder import Folder
from loomweight.federate.homes.wire import keep, kept, record_of, tensors_of
from loomweight.federate.pooling import Book
from loomweight.rules import Mean, Median

from ..small import clients, deep, model, same, whole_batch
from .grid import OneProcess, Way

COUNT = 10
DATA = list(clients(COUNT).values())
MEDIAN = Strategy(aggregate=Median(), local=whole_batch())


def run(strategy: Strategy, way: Way | None = None, rounds: int = 2, net: Callable[[], nn.Module] = model, **options: Any) -> tuple[dict[str, Tensor], Any]:
    """A federation in Flower: the weights and the strategy that ran it."""
    app = flower_client(net(), lambda context: DATA[int(context.node_config["partition-id"])], strategy)
    home: Any = flower(strategy, net(), COUNT, **options)
    result = home.start(OneProcess(app, COUNT, way or (lambda partition, answer: answer)), num_rounds=rounds)
    return tensors_of(result.arrays), home


def only(partition: str, change: Callable[[Message], Message | None]) -> Way:
    """One client answers otherwise."""
    return lambda whose, answer: change(answer) if whose == partition else answer


def without(partition: int, strategy: Strategy = MEDIAN, rounds: int = 2) -> dict[str, Tensor]:
    """The simulation in which this client never answers."""
    from loomweight.federate import Fault

    return simulate(model(), DATA, strategy, rounds, world=World(faults={str(partition): Fault("nothing")})).weights


def update_with(change: Callable[[ArrayRecord], None]) -> Callable[[Message], Message]:
    def changed(answer: Message) -> Message:
        change(answer.content.array_records["update"])
        return answer

    return changed


def weight_of(value: Any) -> Callable[[Message], Message]:
    def changed(answer: Message) -> Message:
        answer.content.metric_records["metrics"]["num-examples"] = value
        return answer

    return changed


def emptied(answer: Message) -> Message:
    answer.content = RecordDict()
    return answer


def of_other_kinds(answer: Message) -> Message:
    answer.content = RecordDict(
        {"update": MetricRecord({"w": 1.0}), "metrics": ConfigRecord({"num-examples": "many"}), "reply": MetricRecord({"round": [0, 1]})}
    )
    return answer


def of_an_old_round(answer: Message) -> Message:
    answer.content.config_records["reply"]["round"] = -1
    return answer


def junk(record: ArrayRecord) -> None:
    record["bias"] = Array("float32", (2,), "numpy.ndarray", b"\x93NUMPY\x01\x00junk")


def pickled(record: ArrayRecord) -> None:
    record["bias"] = Array("float32", (2,), "pickle", b"cos\nsystem\n(S'true'\ntR.")


def truncated(record: ArrayRecord) -> None:
    whole = record["bias"]
    record["bias"] = Array("float32", (2,), "numpy.ndarray", whole.data[:-4])


def put(**tensors: Tensor) -> Callable[[Message], Message]:
    return update_with(lambda record: record.update(record_of(tensors)))


BAD = {
    "one NaN": (put(bias=torch.tensor([0.0, torch.nan])), "nonfinite"),
    "a shape that would be broadcast": (put(bias=torch.ones(1)), "shape"),
    "another shape": (put(bias=torch.ones(3)), "shape"),
    "another dtype": (put(bias=torch.ones(2, dtype=torch.float64)), "dtype"),
    "a name too many": (put(more=torch.ones(2)), "names"),
    "a name missing": (update_with(lambda record: record.pop("bias") and None), "names"),
    "bytes that are no array": (update_with(junk), "names"),
    "a pickle": (update_with(pickled), "names"),
    "half an array": (update_with(truncated), "names"),
    "a negative weight": (weight_of(-9.0), "weight"),
    "a weight of NaN": (weight_of(float("nan")), "weight"),
    "a list for a weight": (weight_of([1.0, 2.0]), "weight"),
    "nothing in it": (emptied, "nothing"),
    "records of other kinds": (of_other_kinds, "nothing"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_reply_is_named_and_the_others_go_on(what: str) -> None:
    """Flower's own check would end the run for three of these, and let others into the model."""
    change, code = BAD[what]
    weights, home = run(MEDIAN, only("3", change), rounds=2)
    for line in home.server.history:
        assert line["who"] == {"3": code} and line["pooled"] == 9
    assert same(weights, without(3))


def test_the_answer_to_an_old_round_is_named_and_the_right_one_does_not_come() -> None:
    weights, home = run(MEDIAN, only("3", of_an_old_round))
    assert [line["refused"] for line in home.server.history] == [{"old-round": 1, "late": 1}] * 2 and same(weights, without(3))


def test_flowers_own_strategy_ends_for_a_name_too_many() -> None:
    """What `test_a_bad_reply_is_named_and_the_others_go_on` is compared with."""
    from flwr.serverapp.exception import InconsistentMessageReplies
    from flwr.serverapp.strategy import FedMedian

    app = flower_client(model(), lambda context: DATA[0], MEDIAN)
    grid = OneProcess(app, 3, only("1", BAD["a name too many"][0]))
    home: Any = flower(MEDIAN, model(), 3)
    messages = home.configure_train(1, None, None, grid)
    with pytest.raises(InconsistentMessageReplies):
        FedMedian().aggregate_train(1, grid.send_and_receive(messages))


def test_a_client_that_raises_is_counted_and_asked_again() -> None:
    def data_of(context: Any) -> Any:
        if context.node_config["partition-id"] == 3:
            raise OSError("the disk\n of client 3 is full")
        return DATA[int(context.node_config["partition-id"])]

    home: Any = flower(MEDIAN, model(), COUNT)
    result = home.start(OneProcess(flower_client(model(), data_of, MEDIAN), COUNT), num_rounds=2)
    assert [line["who"] for line in home.server.history] == [{"3": "died"}] * 2
    assert same(tensors_of(result.arrays), without(3))


def test_a_client_that_hangs_is_late_and_does_not_hold_up_the_next_round() -> None:
    strategy = replace(MEDIAN, guard=Guard(deadline=0.5))
    weights, home = run(strategy, only("3", lambda answer: None))
    assert [line["who"] for line in home.server.history] == [{"3": "late"}] * 2 and same(weights, without(3))


def test_a_run_ends_by_flowers_timeout_as_by_the_deadline() -> None:
    home: Any = flower(MEDIAN, model(), COUNT)
    app = flower_client(model(), lambda context: DATA[int(context.node_config["partition-id"])], MEDIAN)
    home.start(OneProcess(app, COUNT, only("3", lambda answer: None)), num_rounds=1, timeout=0.3)
    assert home.server.history[0]["who"] == {"3": "late"}


@pytest.mark.parametrize(
    ("guard", "error", "words"),
    [
        (Guard(bad="stop"), BadReply, r"round 0: the reply of client '3' does not count: tensor 'bias' holds NaN"),
        (Guard(fewest=10), TooFewReplies, r"round 0: 9 of 10 replies count.*Left out: '3'"),
    ],
)
def test_what_the_guard_says_ends_the_run(guard: Guard, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        run(replace(MEDIAN, guard=guard), only("3", BAD["one NaN"][0]))


def test_a_round_may_be_skipped() -> None:
    weights, home = run(replace(MEDIAN, guard=Guard(fewest=10, few="skip")), only("3", BAD["one NaN"][0]))
    assert same(weights, dict(model().state_dict())) and [line["skipped"] for line in home.server.history] == [True, True]


def test_whose_an_answer_is_does_not_depend_on_what_it_says() -> None:
    def lies(answer: Message) -> Message:
        answer.content.config_records["reply"]["client"] = "4"
        return BAD["one NaN"][0](answer)

    _, home = run(MEDIAN, only("3", lies), rounds=1)
    assert home.server.history[0]["who"] == {"3": "nonfinite"}


def test_a_client_that_is_not_connected_is_missing(caplog: pytest.LogCaptureFixture) -> None:
    app = flower_client(model(), lambda context: DATA[int(context.node_config["partition-id"])], MEDIAN)
    home: Any = flower(MEDIAN, model(), COUNT, patience=0.1)
    with caplog.at_level(logging.WARNING, "loomweight"):
        result = home.start(OneProcess(app, 9), num_rounds=2)
    assert [line["who"] for line in home.server.history] == [{"9": "died"}] * 2 and same(tensors_of(result.arrays), without(9))
    assert "no node of that name is connected" in caplog.text


def test_nodes_that_say_nothing_get_the_names_that_are_free() -> None:
    """Which is which is not known, so it makes no difference where all have the same data."""
    app = flower_client(model(), lambda context: DATA[0], MEDIAN)
    home: Any = flower(MEDIAN, model(), ["ann", "bob"])
    home.start(OneProcess(app, 3, told=False), num_rounds=1)
    assert sorted(home.nodes.names.values()) == ["ann", "bob"] and home.server.history[0]["pooled"] == 2


def test_a_node_that_starts_again_takes_its_name_back_and_no_other_can() -> None:
    app = flower_client(model(), lambda context: DATA[int(context.node_config["partition-id"])], MEDIAN)
    grid, home = OneProcess(app, COUNT), flower(MEDIAN, model(), COUNT)
    grid.contexts[1] = grid._context(1, 3, COUNT, True)  # says it is 3, while 3 is there
    home.start(grid, num_rounds=1)
    old = next(node for node, name in home.nodes.names.items() if name == "3")
    assert old != 1
    del grid.contexts[old], grid.contexts[1]
    grid.contexts[2] = grid._context(2, 3, COUNT, True)
    home.nodes.meet(grid)
    assert home.nodes.meet(grid)["3"] == 2


def test_memory_and_partial_models_are_as_in_the_simulation() -> None:
    """BatchNorm stays with its client: what it keeps is in Flower's context, between rounds."""
    strategy = Strategy(local=Local(batch=4), tensors={"1.*": "local"}, choose=Sample(6))
    weights, _ = run(strategy, rounds=3, net=deep)
    assert same(weights, simulate(deep(), DATA, strategy, 3).weights)


@dataclass(frozen=True)
class Drift(Term):
    """Sends something down, sends something up and remembers something: as SCAFFOLD does."""

    def start(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"bias": torch.zeros(2, dtype=torch.bfloat16)}

    def pool(self, shared: dict[str, Tensor], ended: Any) -> dict[str, Tensor]:
        return {"bias": shared["bias"] + torch.stack([reply.extra["Drift"]["bias"] for reply in ended.replies]).mean(0)}

    def finish(self, work: Any) -> dict[str, Tensor]:
        memory = work.memory_of(self)
        memory["seen"] = memory.get("seen", 0) + 1
        memory["old"] = [memory.get("old"), work.shared_of(self)["bias"].clone()][-1]
        work.update = {name: change + 0.01 * memory["seen"] + 0.1 * memory["old"].float().sum() for name, change in work.update.items()}
        return {"bias": work.shared_of(self)["bias"] + memory["seen"]}


def test_what_terms_send_and_keep_travels() -> None:
    strategy = Strategy(objective=(Drift(),), local=whole_batch())
    weights, home = run(strategy, rounds=3)
    assert same(weights, simulate(model(), DATA, strategy, 3).weights) and home.server.shared["Drift"]["bias"].dtype == torch.bfloat16


def test_bfloat16_travels() -> None:
    """Flower's own conversion refuses it."""
    net = lambda: model().to(torch.bfloat16)  # noqa: E731  # a factory
    strategy = Strategy(local=replace(whole_batch(), loss=lambda outputs, targets: torch.nn.functional.cross_entropy(outputs.float(), targets)))
    data = [(inputs.to(torch.bfloat16), targets) for inputs, targets in DATA]
    app = flower_client(net(), lambda context: data[int(context.node_config["partition-id"])], strategy)
    result = flower(strategy, net(), COUNT).start(OneProcess(app, COUNT), num_rounds=2)
    weights = tensors_of(result.arrays)
    assert weights["weight"].dtype == torch.bfloat16 and same(weights, simulate(net(), data, strategy, 2).weights)
    with pytest.raises(TypeError):
        ArrayRecord(net().state_dict())


def test_a_second_run_goes_on_from_the_folder(tmp_path: Path) -> None:
    strategy = Strategy(choose=Sample(4), aggregate=Median(), local=Local(batch=4))
    run(strategy, rounds=2, folder=tmp_path)
    weights, home = run(strategy, rounds=4, folder=tmp_path)
    assert len(home.server.history) == 4 and same(weights, simulate(model(), DATA, strategy, 4).weights)
    with Folder(tmp_path), pytest.raises(OutputError, match="belongs to a server that is running"):
        run(strategy, rounds=5, folder=tmp_path)
    with pytest.raises(BadParameter, match="holds another federation"):
        run(MEDIAN, rounds=5, folder=tmp_path)


def test_a_server_that_stops_in_the_middle_of_a_round_begins_it_anew(tmp_path: Path) -> None:
    def stops(answer: Message) -> Message:
        if answer.metadata.group_id == "2":
            raise KeyboardInterrupt
        return answer

    strategy = replace(MEDIAN, local=Local(batch=4))
    with pytest.raises(KeyboardInterrupt):
        run(strategy, only("3", stops), rounds=3, folder=tmp_path)
    weights, _ = run(strategy, rounds=3, folder=tmp_path)
    assert same(weights, simulate(model(), DATA, strategy, 3).weights)


@dataclass(frozen=True)
class OneByOne(Aggregate):
    """A round is three answers, and who has answered is asked again."""

    continuous: ClassVar[bool] = True

    def ready(self, book: Book) -> bool:
        return len(book.answered) >= 3

    def pool(self, weights: dict[str, Tensor], held: Any, state: Any, book: Book) -> tuple[dict[str, Tensor], Any]:
        return Pool(Mean()).pool(weights, _mean(held), state, book)


def _mean(held: Any) -> Any:
    found: Any = {}
    for reply in held["replies"]:
        Pool(Mean()).add(found, reply, {})
    return found


def test_clients_that_are_asked_one_by_one(tmp_path: Path) -> None:
    strategy = Strategy(aggregate=OneByOne(), choose=Sample(4), local=whole_batch())
    weights, home = run(strategy, rounds=3, folder=tmp_path)
    assert len(home.server.history) == 3 and all(line["pooled"] >= 3 for line in home.server.history) and not same(weights, dict(model().state_dict()))
    _, home = run(strategy, rounds=5, folder=tmp_path)  # who was being waited for is asked again
    assert len(home.server.history) == 5


def test_flowers_own_loop_drives_it_too() -> None:
    app = flower_client(model(), lambda context: DATA[int(context.node_config["partition-id"])], MEDIAN)
    result = FlowerStrategy.start(flower(MEDIAN, model(), COUNT), OneProcess(app, COUNT), record_of(model().state_dict()), num_rounds=2)
    assert same(tensors_of(result.arrays), simulate(model(), DATA, MEDIAN, 2).weights)


def test_given_arrays_are_where_it_starts_and_the_model_is_tested_at_the_server() -> None:
    start = {name: tensor + 1 for name, tensor in model().state_dict().items()}
    app = flower_client(model(), lambda context: DATA[int(context.node_config["partition-id"])], MEDIAN)
    home: Any = flower(MEDIAN, model(), COUNT)
    seen: list[int] = []

    def test(number: int, arrays: ArrayRecord) -> MetricRecord:
        seen.append(number)
        return MetricRecord({"size": float(tensors_of(arrays)["weight"].norm())})

    result = home.start(OneProcess(app, COUNT), record_of(start), num_rounds=2, evaluate_fn=test)
    begun = model()
    begun.load_state_dict(start)
    assert same(tensors_of(result.arrays), simulate(begun, DATA, MEDIAN, 2).weights)
    assert seen == [1, 2] and home.server.history[1]["size"] == result.evaluate_metrics_serverapp[2]["size"]
    assert result.train_metrics_clientapp[2]["pooled"] == 10


DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.int8, torch.bool, torch.complex64, torch.uint16]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3), (3, 2)], ids=str)
def test_tensors_go_through_records_to_the_bit_and_back_without_a_copy(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = (torch.arange(6).reshape(2, 3) if 0 not in shape else torch.zeros(shape)).to(dtype)
    tensor = tensor[0, 1] if shape == () else tensor.T if shape == (3, 2) else tensor
    record = record_of({"w": tensor})
    back = tensors_of(record)["w"]
    assert back.dtype == dtype and back.shape == tensor.shape
    assert torch.equal(back.contiguous().reshape(-1).view(torch.uint8), tensor.contiguous().reshape(-1).view(torch.uint8))
    if hasattr(torch.zeros(0, dtype=dtype), "numpy") and dtype not in (torch.bfloat16, torch.float8_e4m3fn):
        assert record["w"].data == Array(tensor.contiguous().numpy()).data  # Flower reads it as its own


def test_a_client_keeps_what_it_kept() -> None:
    memory = {"local": {"w": torch.ones(2, dtype=torch.bfloat16)}, "term": {"count": 3, "words": ["a", None, 0.5, {"t": torch.tensor(True)}]}}
    state = RecordDict()
    assert kept(state) == {}
    keep(state, memory)
    found = kept(state)
    assert found["term"]["count"] == 3 and found["term"]["words"][:3] == ["a", None, 0.5]
    assert torch.equal(found["local"]["w"], memory["local"]["w"]) and found["term"]["words"][3]["t"].item() is True
    found["local"]["w"].add_(1)  # its own, not a view of the record
    assert kept(state)["local"]["w"].tolist() == [1, 1]


def test_options_of_training_are_not_given_twice() -> None:
    with pytest.raises(TypeError, match="train_config"):
        flower(MEDIAN, model(), 2).start(None, num_rounds=1, train_config=ConfigRecord({"lr": 0.1}))  # type: ignore[arg-type]
