"""Scores over clients, work, and the history of a run."""

import csv
import json
import math
import statistics
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from loomweight.errors import BadParameter, NamesDiffer, NonFinite, OutputError
from loomweight.federate.report import OverClients, history_picture, history_table, over_clients, totals, training_flops, write_history

from .test_picture import shown

FIRST = {"round": 0, "asked": 10, "pooled": 8, "refused": {"nonfinite": 1, "died": 1}, "who": {"c3": "nonfinite", "c7": "died"}, "skipped": False}
SECOND = {"round": 1, "asked": 10, "pooled": 10, "refused": {}, "who": {}, "skipped": True}
HISTORY = [
    {**FIRST, "bytes_up": 800, "bytes_down": 1000, "time": 5.0, "loss": 2.25, "steps": 4.0},
    {**SECOND, "bytes_up": 1000, "bytes_down": 1000, "time": 9.5, "loss": math.nan, "steps": 4.0, "accuracy": 0.5},
]


@given(scores=st.lists(st.floats(0, 1), min_size=1, max_size=40), higher=st.booleans(), data=st.data())
def test_numbers_over_clients_by_a_second_formula(scores: list[float], higher: bool, data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 50), min_size=len(scores), max_size=len(scores)))
    names = [f"c{i:02d}" for i in range(len(scores))]
    found = OverClients(dict(zip(names, scores, strict=True)), dict(zip(names, sizes, strict=True)), higher)
    ordered = sorted(scores, reverse=not higher)
    tenth = ordered[: -(-len(scores) // 10)]
    samples = [score for score, size in zip(scores, sizes, strict=True) for _ in range(size)]
    # sums of at most 2000 numbers below 1, in another order
    assert found.worst_tenth == pytest.approx(sum(tenth) / len(tenth), abs=1e-12)
    assert found.weighted == pytest.approx(statistics.fmean(samples), abs=1e-12)  # the same
    assert found.mean == pytest.approx(statistics.fmean(scores), abs=1e-12)  # the same
    assert (found.scores[found.worst], found.scores[found.best]) == (ordered[0], ordered[-1])
    if len(scores) > 1:
        deciles = statistics.quantiles(scores, n=10, method="inclusive")
        assert [found.percentile(q) for q in (10, 50, 90)] == pytest.approx([deciles[0], deciles[4], deciles[8]], abs=1e-12)  # interpolation, rounded
    assert json.loads(json.dumps(found.summary()))["clients"] == len(scores)


def test_the_model_is_scored_in_evaluation_mode_and_left_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    clients = {name: (torch.ones(4, 2), torch.zeros(4)) for name in "ab"}

    def score(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
        assert not any(module.training for module in model.modules()) and not torch.is_grad_enabled()
        return float(model(x).sum())

    found = over_clients(model, clients, score)
    assert found.scores["a"] == found.scores["b"]
    assert [module.training for module in model] == [True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_each_client_may_have_its_own_model() -> None:
    data = {name: (torch.eye(2), torch.tensor([0, 1])) for name in "ab"}
    turned = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        turned.weight.copy_(torch.eye(2).flip(0))
    assert over_clients({"a": nn.Identity(), "b": turned}, data).scores == {"a": 1.0, "b": 0.0}
    with pytest.raises(NamesDiffer, match="no model was given for 'b' and 0 others"):
        over_clients({"a": nn.Identity()}, data)


def test_scores_that_are_none_are_refused() -> None:
    good = (torch.eye(2), torch.tensor([0, 1]))
    with pytest.raises(NonFinite, match="the score of 'b' is nan"):
        over_clients(nn.Identity(), {"a": good, "b": (good[0] * math.nan, good[1])}, lambda model, x, y: float(model(x).sum()))
    with pytest.raises(BadParameter, match="'b' has no samples to score; leave it out"):
        over_clients(nn.Identity(), {"a": good, "b": (torch.empty(0, 2), torch.empty(0))})
    with pytest.raises(BadParameter, match="no clients"):
        over_clients(nn.Identity(), {})


def test_work_of_a_perceptron_and_of_a_convolution_by_hand() -> None:
    batch, labels = 16, torch.zeros(16, dtype=torch.int64)
    perceptron = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 4))
    first, second = 2 * batch * 8 * 32, 2 * batch * 32 * 4
    before = torch.get_rng_state()
    assert training_flops(perceptron, (torch.zeros(batch, 8), labels)) == 2 * first + 3 * second
    assert training_flops(perceptron, (torch.zeros(batch, 8), labels), steps=7) == 7 * (2 * first + 3 * second)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in perceptron.parameters())
    perceptron[0].requires_grad_(False)
    assert training_flops(perceptron, (torch.zeros(batch, 8), labels)) == first + 2 * second
    convolution = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.Flatten(), nn.Linear(5 * 36, 4))
    once = 2 * batch * 36 * 5 * 3 * 9
    assert training_flops(convolution, (torch.zeros(batch, 3, 6, 6), labels)) == 2 * once + 3 * 2 * batch * 5 * 36 * 4


def test_what_adds_up() -> None:
    expected = {"asked": 20, "pooled": 18, "refused.nonfinite": 1, "refused.died": 1, "skipped": 1, "bytes_up": 1800, "bytes_down": 2000}
    assert totals(HISTORY) == expected
    assert totals([]) == {}


def test_files_come_back(tmp_path: Path) -> None:
    with (write_history(HISTORY, tmp_path / "run.csv")).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["bytes_up"] for row in rows] == ["800", "1000"]
    assert (rows[0]["refused.nonfinite"], rows[1]["refused.nonfinite"], rows[1]["loss"], rows[1]["accuracy"]) == ("1", "", "nan", "0.5")
    assert rows[0]["who"] == "c3: nonfinite; c7: died"
    expected = [HISTORY[0], HISTORY[1] | {"loss": None}]
    assert json.loads(write_history(HISTORY, tmp_path / "run.json").read_text()) == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.csv", "run.json"]


def test_where_it_cannot_go(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"written as \.csv or \.json, not as run\.txt"):
        write_history(HISTORY, tmp_path / "run.txt")
    with pytest.raises(OutputError, match=r"cannot be written to .*nowhere/run\.csv: No such file"):
        write_history(HISTORY, tmp_path / "nowhere" / "run.csv")
    with pytest.raises(OutputError, match="a picture ends in"):
        history_picture(HISTORY, tmp_path / "run.csv")


def test_a_table_of_few_and_of_many_rounds() -> None:
    lines = shown(history_table(HISTORY))
    assert lines[2].split() == ["0", "10", "8", "1", "1", "0", "800", "1,000", "5", "2.25", "4", "-"]
    many = [{"round": i, "loss": 1 / (i + 1)} for i in range(1000)]
    assert [line.split()[0] for line in shown(history_table(many, most=6))[2:]] == ["0", "1", "2", "...", "997", "998", "999"]


def test_a_picture_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    kept: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path, **settings: kept.append(figure))
    history_picture(HISTORY, tmp_path / "run.png")
    quality, traffic, replies = kept[0].axes
    assert [line.get_label() for line in quality.lines] == ["loss", "accuracy"]
    assert [line.get_ydata()[-1] for line in traffic.lines] == [0.002, 0.0018]
    assert [[bar.get_height() for bar in bars] for bars in replies.containers] == [[8, 10], [1, 0], [1, 0]]
    assert [bars.get_label() for bars in replies.containers] == ["pooled", "refused: nonfinite", "refused: died"]
    history_picture([], tmp_path / "none.png")
