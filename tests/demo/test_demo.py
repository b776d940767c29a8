"""The demo says what the papers say, on real digits."""

from itertools import pairwise

import pytest

from loomweight.demo import Row, Zoo, align_station, draw, federate_station, rules_station, supernet_station, train_zoo, trajectory_station
from loomweight.demo.supernet_station import Shelf

from ..cli.run import run

pytest.importorskip("sklearn", reason="the extra `demo` is not installed")
pytest.importorskip("optuna", reason="the extra `demo` is not installed")


@pytest.fixture(scope="module")
def zoo() -> Zoo:
    return train_zoo(seed=0)


@pytest.fixture(scope="module")
def shelf(zoo: Zoo) -> Shelf:
    return supernet_station(zoo)


@pytest.fixture(scope="module")
def rows(zoo: Zoo, shelf: Shelf) -> dict[str, Row]:
    return {row.name: row for row in [*rules_station(zoo), *align_station(zoo), *trajectory_station(zoo), *shelf.rows, *federate_station(zoo)]}


def test_merging_fine_tunes_of_one_start_beats_them_and_the_start(rows) -> None:
    alone = rows["fine-tunes alone, mean"].accuracy
    for name in ("uniform soup", "median", "model stock", "fisher"):
        assert rows[name].accuracy > alone and rows[name].accuracy > rows["start"].accuracy, name
    assert rows["fisher"].loss < rows["fine-tunes alone, mean"].loss


def test_averaging_strangers_fails(rows) -> None:
    assert rows["mean of strangers"].accuracy < 0.6 < 0.9 < rows["strangers alone, mean"].accuracy


def test_aligned_strangers_average_like_relatives(rows) -> None:
    """Git Re-Basin: two networks trained apart are nearly linearly connected in one order of units; REPAIR: and nearer with their spread back."""
    apart, aligned, repaired = (rows[f"two strangers{what}"] for what in (" averaged", ", aligned", ", aligned, repaired"))
    alone = rows["strangers alone, mean"]
    assert apart.accuracy < 0.8 < alone.accuracy - 0.03 < aligned.accuracy
    assert repaired.loss < aligned.loss < apart.loss
    assert rows["mean of strangers"].accuracy < 0.5 < 0.85 < rows["all 5 strangers, aligned"].accuracy


def test_averages_along_a_run_beat_its_last_step(rows) -> None:
    """Polyak, SWA, LAWA: at a rate at which the weights never settle, their mean is better than any of them."""
    last = rows["one noisy run, last step"]
    for name in ("its EMA", "its second half, mean", "its last six points, mean"):
        assert rows[name].loss < 0.8 * last.loss and rows[name].accuracy > last.accuracy, name


def test_one_supernet_holds_networks_as_good_as_those_trained_alone(rows, shelf) -> None:
    """BigNAS: children of a single-stage model need no training of their own, from the smallest to the largest."""
    small, middle, large = (rows[f"supernet, {size}"] for size in ("smallest", "middle", "largest"))
    assert small.accuracy < middle.accuracy < large.accuracy
    assert small.accuracy > rows["the smallest, trained alone"].accuracy - 0.02
    assert large.accuracy > rows["strangers alone, mean"].accuracy - 0.01
    best = sorted(point for point in shelf.points if point.best)
    assert all(less.accuracy < more.accuracy and less.params < more.params for less, more in pairwise(best))
    assert all(any(one.params <= point.params and one.accuracy >= point.accuracy for one in best) for point in shelf.points)


def test_two_hostile_clients_ruin_the_mean_and_not_a_robust_rule(rows) -> None:
    honest, mean, robust = rows["10 clients, mean"], rows["2 of 10 hostile, mean"], rows["2 of 10 hostile, robust rule"]
    assert mean.accuracy < 0.5 < 0.8 < robust.accuracy <= honest.accuracy + 0.02


def test_training_repeats_to_the_bit(zoo, shelf) -> None:
    assert supernet_station(zoo) == shelf
    again = train_zoo(seed=0)
    for first, second in zip([*zoo.tuned, *zoo.strangers], [*again.tuned, *again.strangers], strict=True):
        assert all(first[name].equal(second[name]) for name in first)


def test_the_picture_is_drawn(rows, shelf, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    for points in ((), shelf.points):
        assert draw(list(rows.values()), tmp_path / "demo.png", points).read_bytes().startswith(b"\x89PNG")


def test_the_command_prints_one_table_and_names_the_picture(capsys, tmp_path) -> None:
    ran = run(capsys, "demo", "--picture", tmp_path / "p.png")
    assert ran.code == 0 and "mean of strangers" in ran.out and "two strangers, aligned" in ran.out and (tmp_path / "p.png").exists()
