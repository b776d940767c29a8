"""Partitions, speeds and reports together with the simulation: what the history says is what the world has done."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from loomweight.errors import BadParameter, TooFewReplies
from loomweight.federate import (
    Bernoulli,
    Dirichlet,
    Federation,
    Guard,
    Iid,
    Local,
    Markov,
    Natural,
    Partition,
    Periodic,
    Presence,
    Sample,
    Shards,
    Speeds,
    Straggle,
    Strategy,
    World,
    history_picture,
    history_table,
    leaf,
    over_clients,
    simulate,
    split,
    timeline,
    totals,
    write_history,
)
from loomweight.federate.report import spans
from loomweight.federate.world import Pace

from .small import clients, model, same
from .test_picture import shown

CLIENTS = clients(8)
SPEEDS = partial(Speeds, 3, spread=0.8, overhead=0.5, straggle=Straggle(0.2, 6.0), absent=0.25, failing=0.1)


def run(speeds: Speeds, deadline: float | None, rounds: int = 6, folder: Path | None = None, engine: str = "inline") -> Federation:
    strategy = Strategy(local=Local(epochs=2, batch=5), guard=Guard(deadline=deadline, few="skip"))
    return simulate(model(), CLIENTS, strategy, rounds, engine=engine, world=World(1, speeds), folder=folder)


def expected(speeds: Speeds, deadline: float | None, rounds: int = 6) -> list[dict[str, object]]:
    """A second formula: each round from the speeds alone."""
    lines, now, local = [], 0.0, Local(epochs=2, batch=5)
    for number in range(rounds):
        who, answered, away = {}, [], False
        for place, (client, data) in enumerate(CLIENTS.items()):
            task = number * len(CLIENTS) + place
            takes = speeds.duration(client, task, local.count(len(data[0])))
            if not speeds.present(client, number) or (deadline is not None and takes > deadline):
                who[client] = "late"
                away |= True
                continue
            answered.append(takes)
            if speeds.fails(client, task):
                who[client] = "died"
        now = now + deadline if deadline is not None and away else now + max(answered, default=0.0)
        lines.append({"round": number, "pooled": len(CLIENTS) - len(who), "who": who, "time": now})
    return lines


@pytest.mark.parametrize("presence", [Bernoulli(), Markov(0.3), Periodic(4)], ids=repr)
@pytest.mark.parametrize("deadline", [None, 12.0])
def test_drop_outs_and_stragglers_are_counted_and_named(presence: Presence, deadline: float | None) -> None:
    speeds = SPEEDS(presence=presence)
    found, wanted = run(speeds, deadline).history, expected(speeds, deadline)
    for line, want in zip(found, wanted, strict=True):
        assert {name: line[name] for name in ("round", "pooled", "who")} == {name: want[name] for name in ("round", "pooled", "who")}
        assert line["time"] == pytest.approx(want["time"])
        codes = list(want["who"].values())  # type: ignore[attr-defined]
        assert line["refused"] == {code: codes.count(code) for code in dict.fromkeys(line["refused"])} and sum(line["refused"].values()) == len(codes)
    gone = {code for want in wanted for code in want["who"].values()}  # type: ignore[attr-defined]
    assert gone == {"late", "died"}


@pytest.mark.parametrize("deadline", [None, 12.0])
def test_the_time_line_is_that_of_the_simulation(tmp_path: Path, deadline: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    local = Local(epochs=2, batch=5)
    steps = {client: local.count(len(data[0])) for client, data in CLIENTS.items()}
    found, history = spans(SPEEDS(), steps, 6, deadline), run(SPEEDS(), deadline).history
    for line in history:
        own = [span for span in found if span.number == line["round"]]
        assert {span.client: {"away": "late"}.get(span.fate, span.fate) for span in own if span.fate != "answers"} == line["who"]
        assert max(span.end for span in own) == pytest.approx(line["time"])
    kept: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **settings: kept.append(figure))
    timeline(SPEEDS(), steps, 6, tmp_path / "when.png", deadline)
    bars = [bar for group in kept[0].axes[0].containers for bar in group]
    assert len(bars) == sum(span.fate != "away" for span in found)
    assert sum(bar.get_width() for bar in bars) == pytest.approx(sum(span.end - span.start for span in found if span.fate != "away"))
    with pytest.raises(BadParameter, match="a time line needs a client and a round, found 0 and 6"):
        spans(SPEEDS(), {}, 6)


def test_the_same_world_twice_in_pieces_and_another_one(tmp_path: Path) -> None:
    assert isinstance(SPEEDS(), Pace)
    one, two = run(SPEEDS(), 12.0), run(SPEEDS(), 12.0)
    run(SPEEDS(), 12.0, rounds=2, folder=tmp_path)
    pieces = run(SPEEDS(), 12.0, folder=tmp_path)
    assert same(one.weights, two.weights) and one.history == two.history
    assert same(one.weights, pieces.weights) and one.history == pieces.history
    other = run(Speeds(4, spread=0.8, absent=0.25), 12.0)
    assert not same(one.weights, other.weights)


@pytest.mark.slow
def test_the_same_world_on_ray() -> None:
    one, spread = run(SPEEDS(), 12.0), run(SPEEDS(), 12.0, engine="ray:2")
    assert same(one.weights, spread.weights) and one.history == spread.history


def test_nobody_is_there() -> None:
    skipped = run(Speeds(absent=1.0), None, rounds=2)
    assert [(line["pooled"], line["skipped"], line["refused"]) for line in skipped.history] == [(0, True, {"late": 8})] * 2
    assert same(skipped.weights, dict(model().state_dict()))
    with pytest.raises(TooFewReplies, match=r"round 0: 0 of 8 replies count.*Left out"):
        simulate(model(), CLIENTS, Strategy(), 1, world=World(1, Speeds(absent=1.0)))


def digits() -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    x, y = torch.as_tensor(pixels, dtype=torch.float32)[order] / 16, torch.as_tensor(labels)[order]
    return (x[:1300], y[:1300]), (x[1300:], y[1300:])


def linear() -> nn.Module:
    zero = nn.Linear(64, 10)
    for parameter in zero.parameters():
        nn.init.zeros_(parameter)
    return zero


def learned(partition: Partition, rounds: int = 6) -> tuple[float, Federation]:
    train, (x, y) = digits()
    strategy = Strategy(choose=Sample(4), local=Local(epochs=4, batch=20, optimizer=partial(torch.optim.SGD, lr=0.3)))
    world = World(2, test=lambda net: {"accuracy": float((net(x).argmax(1) == y).double().mean())})
    run = simulate(linear(), split(train, partition, 20, seed=1), strategy, rounds, world=world)
    return sum(line["accuracy"] for line in run.history) / rounds, run


def test_clients_that_differ_in_labels_learn_worse_together() -> None:
    """What both papers report: the more the clients' classes differ, the lower the accuracy after the same rounds."""
    alike, mixed, skewed = (learned(partition)[0] for partition in (Iid(), Dirichlet(4.0, equal=True), Dirichlet(0.1, equal=True)))
    assert alike > mixed > skewed
    assert alike - skewed > 0.2
    assert learned(Shards(1))[0] < alike - 0.2


def test_a_run_is_reported(tmp_path: Path) -> None:
    train, _ = digits()
    _, run = learned(Dirichlet(0.1, equal=True))
    found = over_clients(run.model, split(train, Dirichlet(0.1, equal=True), 20, seed=1))
    x, y = train
    whole = float((run.model(x).argmax(1) == y).double().mean())
    assert found.weighted == pytest.approx(whole)
    assert found.worst_tenth <= found.percentile(10) + 1e-9 <= found.percentile(50) <= found.percentile(90)
    sums = totals(run.history)
    values = 64 * 10 + 10
    assert (sums["asked"], sums["pooled"]) == (24, 24) and sums["bytes_down"] == sums["bytes_up"] == 24 * 4 * values
    assert json.loads(write_history(run.history, tmp_path / "run.json").read_text()) == run.history
    assert len(shown(history_table(run.history))) == 2 + len(run.history)
    assert history_picture(run.history, tmp_path / "run.png").stat().st_size > 10_000


@pytest.mark.slow
def test_users_in_leaf_s_form_are_clients(tmp_path: Path) -> None:
    """From a file, as from the partition by user: the same bits."""
    (x, y), _ = digits()
    writers = [f"writer {int(number):02d}" for number in torch.randint(0, 30, (len(y),), generator=torch.Generator().manual_seed(1))]
    own = split((x, y), Natural.of(writers))
    data = {name: {"x": inputs.tolist(), "y": labels.tolist()} for name, (inputs, labels) in own.items()}
    held = {"users": list(own), "num_samples": [len(labels) for _, labels in own.values()], "user_data": data}
    (tmp_path / "all_data_0.json").write_text(json.dumps(held))
    runs = [simulate(linear(), found, Strategy(choose=Sample(5)), 5, world=World(3)) for found in (own, leaf(tmp_path))]
    assert same(runs[0].weights, runs[1].weights) and runs[0].history == runs[1].history
