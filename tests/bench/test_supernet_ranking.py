"""Supernets of bench/supernet_ranking.py: equal training, fair images, grades by hand; the committed scores are those of the document."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

BENCH = Path(__file__).parents[2] / "bench"
METHODS = {"blocks": range(10), "pooling": range(2)}
FEW_SHOT = 6


@pytest.fixture(scope="module")
def bench() -> Iterator[SimpleNamespace]:
    """The modules of bench/ that grade supernets."""
    sys.path.insert(0, str(BENCH))
    try:
        import supernet_methods
        import supernet_ranking
        import truth_spaces
        import truth_table

        yield SimpleNamespace(methods=supernet_methods, script=supernet_ranking, spaces=truth_spaces, tables=truth_table)
    finally:
        sys.path.remove(str(BENCH))


def begun(bench: SimpleNamespace, name: str, passes: int) -> object:
    truth, draw = bench.spaces.TRUTHS[name], torch.Generator().manual_seed(0)
    images, labels = torch.randn(24, *truth.shape, generator=draw), torch.arange(24) % 10
    return bench.methods.begun(truth, ((images[:16], labels[:16]), (images[16:], labels[16:])), seed=0, passes=passes)


def cases() -> Iterator[object]:
    """Every method; splitting a supernet takes more passes to be tried at all."""
    for name, every in METHODS.items():
        for which in every:
            long = (name, which) == ("blocks", FEW_SHOT)
            yield pytest.param(name, which, 96 if long else 9, marks=[pytest.mark.slow] if long else [])


@pytest.mark.parametrize(("name", "which", "passes"), list(cases()))
def test_every_method_makes_as_many_passes(bench: SimpleNamespace, name: str, which: int, passes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that only compare gradients, to find a split, are not training."""
    monkeypatch.setattr(bench.methods, "BATCH", 4)
    run, counted = begun(bench, name, passes), []
    asked: list[int] = []
    fit = bench.methods.fit

    def counting(run: object, step: object, passes: int, each: int = 1, feed: object = None) -> None:
        asked.append(passes)
        hook = run.net.register_forward_hook(lambda net, given, out: counted.append(1) if out.requires_grad else None)
        fit(run, step, passes, each, feed)
        hook.remove()

    monkeypatch.setattr(bench.methods, "fit", counting)
    before = run.net.state_dict()["stem.0.weight"].clone()
    list(bench.methods.METHODS[name].values())[which](run)
    assert len(counted) == sum(asked) == passes
    assert not torch.equal(before, run.net.state_dict()["stem.0.weight"])


def test_list_of_methods_is_tested(bench: SimpleNamespace) -> None:
    assert {name: range(len(every)) for name, every in bench.methods.METHODS.items()} == METHODS


@pytest.mark.parametrize("name", METHODS)
def test_what_is_scored_is_not_trained_on(bench: SimpleNamespace, name: str) -> None:
    truth = bench.spaces.TRUTHS[name]
    images, labels = torch.arange(10_000.0).reshape(-1, 1, 1, 1), torch.arange(10_000)
    train, held = bench.script.split(truth._replace(data=lambda: ((images, labels), (images - 1e5, labels))))
    assert (len(train[1]), len(held[1])) == (8000, 2000)
    assert not set(train[1].tolist()) & set(held[1].tolist())
    assert torch.equal(held[0].flatten().long(), held[1])


def table_of(bench: SimpleNamespace, *accuracies: float) -> object:
    rows = [bench.tables.Row({"width": place}, {"params": 7 - place, "macs": 3}, {0: value, 1: value + 0.5}) for place, value in enumerate(accuracies)]
    return bench.tables.Table([], rows)


def test_grades_by_hand(bench: SimpleNamespace) -> None:
    """Three of four in order against a count that is upside down; a cost that all share is no baseline."""
    table = table_of(bench, 1.0, 2.0, 3.0, 4.0)
    one = bench.script.Supernet("a", 0, 8, 2.0, (10.0, 20.0, 40.0, 30.0))
    half = bench.script.Supernet("a", 0, 4, 1.0, (4.0, 3.0, 2.0, 1.0))
    better = bench.script.Supernet("b", 0, 8, 4.0, (10.0, 20.0, 30.0, 40.0))
    grades = bench.script.graded(table, [half, one, better])
    assert [grade.method for grade in grades] == ["b", "a"]
    assert grades[1].taus == (pytest.approx(4 / 6),) and grades[1].accuracy == 25.0 and grades[1].seconds == 2.0 and grades[1].best == table.means[2]
    assert bench.script.first_by(table, "params") == table.means[0] and bench.script.first_by(table, "macs") == pytest.approx(2.75)
    assert [row.name for row in grades[0].ranked.baselines] == ["params"] and grades[0].ranked.baselines[0].tau.value == pytest.approx(-1)
    assert grades[0].ranked.gain.value == pytest.approx(2)


def test_scores_are_read_as_they_were_written(bench: SimpleNamespace, tmp_path: Path) -> None:
    found = [bench.script.Supernet("a, with commas", 3, 8, 1.5, (10.25, 20.0)), bench.script.Supernet("b", 0, 8, 0.5, (1.0, 2.0))]
    bench.script.write(tmp_path / "s.csv", ["how", "with what"], found)
    assert bench.script.read(tmp_path / "s.csv") == (["how", "with what"], found)


def test_a_killed_run_goes_on_and_only_with_its_own_settings(bench: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, path, asked = bench.script, tmp_path / "s.csv", []

    def fake(name: str, method: str, seed: int, data: object, passes: int) -> list[object]:
        if len(asked) == 1:
            asked.append("killed")
            raise KeyboardInterrupt
        asked.append((method, seed))
        return [script.Supernet(method, seed, passes, 1.0, (1.0, 2.0))]

    monkeypatch.setattr(script, "supernets", fake)
    monkeypatch.setattr(script, "split", lambda truth: None)
    with pytest.raises(KeyboardInterrupt):
        script.fill("pooling", path, 1, 9, ["a", "b"])
    script.fill("pooling", path, 2, 9, ["a", "b"])
    assert asked == [("a", 0), "killed", ("b", 0), ("a", 1), ("b", 1)]
    with pytest.raises(SystemExit, match="made by other settings"):
        script.fill("pooling", path, 2, 10, ["a", "b"])


COMMITTED = [path.stem.removeprefix("supernets_") for path in sorted((BENCH / "tables").glob("supernets_*.csv"))]


@pytest.mark.parametrize("name", COMMITTED)
def test_the_document_shows_the_committed_scores(bench: SimpleNamespace, name: str) -> None:
    """Where this fails after new scores, the command that the document names prints what belongs there."""
    document = (BENCH.parent / "docs" / "BENCHMARKS.md").read_text()
    named = re.search(f"bench/supernet_ranking.py {name} --show --against ([0-9]+)`", document)
    assert named
    table = bench.script.of_seeds(bench.tables.read(BENCH / "tables" / f"{name}.csv"), int(named[1]))
    made, found = bench.script.read(bench.script.path_of(name))
    assert len(table.seeds) == int(named[1])
    assert all(line in document.splitlines() for line in bench.script.lines_of(table, found))
    assert bench.script.variance(table, found) in " ".join(document.split())
    passes = max(one.passes for one in found)
    assert made[:2] == bench.script.header(name, passes)[:2] and f"{name} --passes {passes}`" in document


@pytest.mark.parametrize("name", COMMITTED)
def test_committed_scores_are_of_all_methods_and_networks(bench: SimpleNamespace, name: str) -> None:
    found = bench.script.read(bench.script.path_of(name))[1]
    last = [(one.method, one.seed) for one in found if one.passes == max(one.passes for one in found)]
    assert len(set(last)) == len(last)
    assert set(last) == {(method, seed) for method in bench.methods.METHODS[name] for seed in range(len(last) // len(bench.methods.METHODS[name]))}
    for one in found:
        assert len(one.scores) == len(bench.spaces.TRUTHS[name].architectures())
        assert all(abs(score * 20 - round(score * 20)) < 1e-6 for score in one.scores)  # of 2,000 images
