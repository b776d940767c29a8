"""A run in a folder: resumed to the bit after any interrupt, refused where it is another, judged and reported."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from loomweight.errors import BadParameter, BrokenFile, OutputError, TooFewSets
from loomweight.search import Budget
from loomweight.supernet import Elastic, elastic
from loomweight.supernet.run import RunFolder, Settings, honesty, judged, report, score, searched, train
from loomweight.supernet.run.judge import logits_of
from loomweight.supernet.run.report import against_truth
from loomweight.supernet.run.train import seeded

SPACE = "width 0 : 2 4 8\nwidth 3 : 3 6\nkernel 0 : 1 3"
_RANDOM = torch.Generator().manual_seed(0)
X, Y = torch.randn(48, 2, 5, 5, generator=_RANDOM), torch.randint(0, 3, (48,), generator=_RANDOM)


def network() -> nn.Module:
    layers = [nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Dropout(0.1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3))


def epoch(number: int) -> list[Any]:
    order = torch.randperm(48, generator=torch.Generator().manual_seed(number))
    return [(X[rows], Y[rows]) for rows in order.split(12)]


def net(seed: int = 0) -> Elastic:
    return elastic(seeded(seed, network), SPACE, X[:2])


def settings(**changes: Any) -> Settings:
    return Settings(**{"model": "nets:network", "example": None, "space": SPACE, "data": "nets:epoch", "epochs": 3, "rate": 0.01} | changes)


def interrupted(at: int) -> Callable[[int], list[Any]]:
    def batches(number: int) -> list[Any]:
        if number == at:
            raise KeyboardInterrupt
        return epoch(number)

    return batches


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize(
    ("step", "optimizer", "sampler"), [("sandwich", "adamw", "uniform"), ("single", "sgd", "by_operator"), ("sandwich", "sgd", "stratified")]
)
def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path, step: str, optimizer: str, sampler: str) -> None:
    told = settings(step=step, optimizer=optimizer, sampler=sampler)
    train(net(), told, epoch, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt) as caught:
        train(net(), told, interrupted(2), tmp_path / "parts")
    assert "holds step 8 of 12" in caught.value.__notes__[0]
    before = net(1)  # other weights: all must come from the folder
    for seed in range(20):
        before.select(before.sample(seed))  # leaves that an uninterrupted run meets later must not change sums
    train(before, told, epoch, tmp_path / "parts", resume=True)
    whole, parts = RunFolder(tmp_path / "whole").state(), RunFolder(tmp_path / "parts").state()
    assert same(whole, parts)
    assert not same(whole["net"], {key: tensor.clone() for key, tensor in net().state_dict().items()})


def test_training_learns_and_leaves_torchs_random_numbers(tmp_path: Path) -> None:
    state = torch.get_rng_state()
    model = net()
    before = score(model.calibrate([X]), model.max(), [(X, Y)]).loss
    train(model, settings(epochs=15, schedule="constant"), epoch, tmp_path / "run")
    assert score(model, model.max(), [(X, Y)]).loss < before
    assert torch.equal(state, torch.get_rng_state())


def test_what_a_folder_refuses(tmp_path: Path) -> None:
    train(net(), settings(epochs=1), epoch, tmp_path / "run")
    with pytest.raises(OutputError, match="holds a run already; --resume"):
        train(net(), settings(epochs=1), epoch, tmp_path / "run")
    with pytest.raises(BadParameter, match=r"another run: space was 'width 0 : 2 4 8"):
        train(net(), settings(epochs=1, space="width 0 : 2 8"), epoch, tmp_path / "run", resume=True)
    with pytest.raises(BadParameter, match="holds no supernet"):
        RunFolder(tmp_path).settings()
    (tmp_path / "run" / "supernet.json").write_text("{")
    with pytest.raises(BrokenFile, match=r"supernet\.json is damaged"):
        RunFolder(tmp_path / "run").settings()
    with pytest.raises(BadParameter, match="epoch 1 of the data has 1 batches, epoch 0 had 4"):
        train(net(), settings(epochs=2), lambda number: epoch(0)[: 1 if number else 4], tmp_path / "other")


@pytest.mark.parametrize("bad", [{"step": "triple"}, {"epochs": 0}, {"rate": -1.0}, {"step": "single", "soft": "alpha"}])
def test_settings_that_mean_nothing(bad: dict[str, Any]) -> None:
    with pytest.raises(BadParameter):
        settings(**bad)


def test_scores_are_those_of_the_exported_network() -> None:
    model = net().calibrate([X])
    values = model.sample(3)
    found = score(model, values, [(X[:20], Y[:20]), (X[20:], Y[20:])])
    plain = model.export(values).eval()
    with torch.no_grad():
        logits = plain(X)
    assert found.accuracy == pytest.approx((logits.argmax(-1) == Y).float().mean().item())
    assert found.loss == pytest.approx(nn.functional.cross_entropy(logits, Y).item(), rel=1e-5)  # float32 sums in another order
    with pytest.raises(BadParameter, match="no target"):
        score(model, values, [])
    with pytest.raises(BadParameter, match="without logits"):
        logits_of({"hidden": X})


class _Build:
    def __call__(self) -> tuple[Elastic, list[Any]]:
        return net().calibrate([X]), epoch(0)


def test_a_search_reports_its_front_and_what_its_ranking_is_worth(tmp_path: Path) -> None:
    model = net().calibrate([X])
    limits = {"params": f"<= {model.cost(model.max()).params - 1}"}
    found = searched(model, judged(_Build()), tmp_path, limits=limits, budget=Budget(6, "random"))
    assert all(trial.parameters != model.max() for trial in found.trials)
    again = searched(model, judged(_Build()), tmp_path, limits=limits, budget=Budget(6, "random"))
    assert [trial.values for trial in again.trials] == [trial.values for trial in found.trials]
    words = honesty(model, epoch(0), count=8)
    assert "Kendall's tau" in words
    text = report(found, model, words, tmp_path).read_text()
    assert all(str(trial.number) in text for trial in found.front)
    assert (tmp_path / "front.png").stat().st_size > 1000
    with pytest.raises(TooFewSets, match="at least two batches"):
        honesty(model, [(X, Y)])


def test_a_ranking_that_only_repeats_the_parameters_is_not_called_good() -> None:
    params = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert "not a good score" in against_truth(params, [1, 3, 2, 4, 6, 5], params)
