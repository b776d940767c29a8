"""Spaces of bench/ground_truth.py, and the tables of them that are committed. Nothing is trained here."""

import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from statistics import mean
from types import SimpleNamespace

import pytest
import torch

import loomweight as lw

BENCH = Path(__file__).parents[2] / "bench"
SPACES = ("blocks", "pooling")


@pytest.fixture(scope="module")
def bench() -> Iterator[SimpleNamespace]:
    """The modules of bench/ that make the tables."""
    sys.path.insert(0, str(BENCH))
    try:
        import ground_truth
        import truth_spaces
        import truth_table

        yield SimpleNamespace(script=ground_truth, spaces=truth_spaces, tables=truth_table)
    finally:
        sys.path.remove(str(BENCH))


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_sizes_of_the_spaces(bench: SimpleNamespace) -> None:
    found = {name: truth.architectures() for name, truth in bench.spaces.TRUTHS.items()}
    assert len(found["blocks"]) == 2 * 3 * 2 * 2 * 2 and len(found["pooling"]) == 9 * 8 // 2
    for name, archs in found.items():
        space = bench.spaces.TRUTHS[name].space
        assert all(space.check(arch) == arch for arch in archs) and len({str(arch) for arch in archs}) == len(archs)


@pytest.mark.parametrize("name", SPACES)
def test_the_largest_network_holds_the_others(bench: SimpleNamespace, name: str) -> None:
    truth = bench.spaces.TRUTHS[name]
    largest = truth.largest().state_dict()
    for arch in truth.architectures():
        model = truth.network(arch).eval()
        assert model(truth.example()).shape == (2, 10)
        for key, tensor in model.state_dict().items():
            assert all(small <= large for small, large in zip(tensor.shape, largest[key].shape, strict=True)), key


def test_pooling_moves_the_resolution_and_nothing_else(bench: SimpleNamespace) -> None:
    truth = bench.spaces.TRUTHS["pooling"]
    seen = []
    for arch in truth.architectures():
        model, sizes = truth.network(arch), []
        for place in range(1, 10):
            model.get_submodule(f"block{place}").register_forward_hook(lambda module, given, out, sizes=sizes: sizes.append(out.shape[-1]))
        model.eval()(truth.example())
        first, second = bench.spaces.positions(arch)
        assert sizes == [16 >> (place >= first) >> (place >= second) for place in range(1, 10)]
        seen.append({key: tensor.shape for key, tensor in model.state_dict().items()})
    assert all(shapes == seen[0] for shapes in seen)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("which", [0, 11, -1])
def test_a_supernet_exports_the_network_that_was_trained(bench: SimpleNamespace, name: str, which: int) -> None:
    truth = bench.spaces.TRUTHS[name]
    net, arch = lw.supernet.elastic(truth.largest(), truth.table, truth.example()), truth.architectures()[which]
    batch = torch.randn(8, *truth.shape, generator=torch.Generator().manual_seed(0))
    net.calibrate([batch])
    plain = truth.network(arch).eval()
    plain.load_state_dict(net.export(truth.chosen(arch)).state_dict())
    torch.testing.assert_close(plain(batch), net.select(truth.chosen(arch)).eval()(batch))


def test_costs_are_those_counted_by_hand(bench: SimpleNamespace) -> None:
    truth = bench.spaces.TRUTHS["blocks"]
    arch = {"stem_width": 8, "kernel1": 5, "depth1": 2, "width2": 32, "kernel2": 5}
    assert arch == truth.architectures()[-1]
    weights = {14 * 14: 1 * 8 * 9 + 8 * 8 + 2 * (2 * 8 * 8 * 25), 7 * 7: 8 * 32 + 2 * 32 * 32 * 25, 1: 32 * 10}
    norms = 2 * (8 + 8 + 2 * (8 + 8) + 32 + 32 + 32)
    assert bench.script.costs(truth, arch) == {
        "params": sum(weights.values()) + norms + 10,
        "macs": sum(places * count for places, count in weights.items()),
    }


def small_table(bench: SimpleNamespace, seeds: tuple[dict[int, float], ...]) -> object:
    rows = [bench.tables.Row({"width": 2**n, "word": f"w{n}"}, {"params": 10 * n, "macs": 7}, found) for n, found in enumerate(seeds)]
    return bench.tables.Table(["how it was made", "with what"], rows)


def test_a_table_is_read_as_it_was_written(bench: SimpleNamespace, tmp_path: Path) -> None:
    table = small_table(bench, ({0: 70.0, 1: 71.0}, {0: 80.25}))
    table.write(tmp_path / "t.csv")
    assert bench.tables.read(tmp_path / "t.csv") == table
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_spread_noise_and_rank_agreement_by_hand(bench: SimpleNamespace) -> None:
    table = small_table(bench, ({0: 1.0, 1: 3.0}, {0: 5.0, 1: 5.0}, {0: 6.0, 1: 4.0}))
    found = bench.tables.summary(table)
    assert (found["lowest"], found["highest"], found["seeds"]) == (2.0, 5.0, 2)
    assert found["noise"] == pytest.approx((4 / 3) ** 0.5)
    assert found["tau between seeds"] == pytest.approx(1 / 3)
    assert found["tau of params"] == pytest.approx(2 / 6**0.5)
    assert found["tau of macs"] != found["tau of macs"]


def test_only_seeds_of_every_network_count(bench: SimpleNamespace) -> None:
    table = small_table(bench, ({0: 1.0, 1: 9.0}, {0: 5.0}))
    assert (table.seeds, table.means) == ([0], [1.0, 5.0])
    with pytest.raises(SystemExit, match="no seed is complete"):
        bench.tables.summary(small_table(bench, ({0: 1.0}, {})))


def test_a_killed_run_goes_on_and_only_with_its_own_settings(bench: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, truth, path = bench.script, bench.spaces.TRUTHS["pooling"], tmp_path / "t.csv"
    truth = truth._replace(data=lambda: ((torch.zeros(2, 3, 16, 16), torch.zeros(2)),) * 2)
    asked: list[tuple[str, int]] = []

    def fake(truth: object, arch: dict[str, str], seed: int, data: object) -> float:
        if len(asked) == 40:
            raise KeyboardInterrupt
        asked.append((arch["pools"], seed))
        return 50.0

    monkeypatch.setattr(script, "accuracy", fake)
    with pytest.raises(KeyboardInterrupt):
        script.fill(truth, script.begun("pooling", truth, path), path, 2)
    monkeypatch.setattr(script, "accuracy", lambda truth, arch, seed, data: asked.append((arch["pools"], seed)) or 50.0)
    table = script.begun("pooling", truth, path)
    script.fill(truth, table, path, 2)
    assert asked == [(arch["pools"], seed) for seed in (0, 1) for arch in truth.architectures()]
    with pytest.raises(SystemExit, match="made by other settings"):
        script.begun("pooling", truth._replace(epochs=1), path)


def agreement(first: list[float], second: list[float]) -> float:
    """Kendall's tau-b, pair by pair."""
    signs = [((a > c) - (a < c), (b > d) - (b < d)) for (a, b), (c, d) in combinations(list(zip(first, second, strict=True)), 2)]
    ordered = [sum(sign[side] != 0 for sign in signs) for side in (0, 1)]
    return sum(a * b for a, b in signs) / (ordered[0] * ordered[1]) ** 0.5


@pytest.mark.parametrize(("name", "images", "seeds"), [("blocks", 10_000, 2), ("pooling", 2_000, 1)])
def test_a_committed_table_is_of_its_space(bench: SimpleNamespace, name: str, images: int, seeds: int) -> None:
    truth, table = bench.spaces.TRUTHS[name], bench.tables.read(BENCH / "tables" / f"{name}.csv")
    assert [row.arch for row in table.rows] == truth.architectures()
    assert f"ground_truth.py {name}`: {truth.epochs} epochs" in table.header[1] and f"peak rate {truth.rate}." in table.header[1]
    for row in table.rows:
        assert row.costs["params"] == parameters(truth.network(row.arch))
        assert sorted(row.accuracies) == table.seeds == list(range(len(table.seeds))) and len(table.seeds) >= seeds
        assert all(abs(found * images / 100 - round(found * images / 100)) < 1e-6 for found in row.accuracies.values())
    assert table.rows[-1].costs == bench.script.costs(truth, truth.architectures()[-1])


def test_networks_differ_by_more_than_their_seeds(bench: SimpleNamespace) -> None:
    table = bench.tables.read(BENCH / "tables" / "blocks.csv")
    columns = [[row.accuracies[seed] for row in table.rows] for seed in table.seeds]
    found = bench.tables.summary(table)
    assert found["tau between seeds"] == pytest.approx(mean(agreement(a, b) for a, b in combinations(columns, 2)))
    assert found["tau between seeds"] > found["tau of params"] and found["spread"] > found["noise"]
