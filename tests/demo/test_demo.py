"""The demo says what the papers say, on real digits."""

import pytest

from loomweight.demo import Row, Zoo, align_station, draw, rules_station, train_zoo, trajectory_station

from ..cli.run import run

pytest.importorskip("sklearn", reason="the extra `demo` is not installed")


@pytest.fixture(scope="module")
def zoo() -> Zoo:
    return train_zoo(seed=0)


@pytest.fixture(scope="module")
def rows(zoo: Zoo) -> dict[str, Row]:
    return {row.name: row for row in [*rules_station(zoo), *align_station(zoo), *trajectory_station(zoo)]}


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


def test_training_repeats_to_the_bit(zoo) -> None:
    again = train_zoo(seed=0)
    for first, second in zip([*zoo.tuned, *zoo.strangers], [*again.tuned, *again.strangers], strict=True):
        assert all(first[name].equal(second[name]) for name in first)


def test_the_picture_is_drawn(rows, tmp_path) -> None:
    pytest.importorskip("matplotlib")
    assert draw(list(rows.values()), tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_prints_one_table_and_names_the_picture(capsys, tmp_path) -> None:
    ran = run(capsys, "demo", "--picture", tmp_path / "p.png")
    assert ran.code == 0 and "mean of strangers" in ran.out and "two strangers, aligned" in ran.out and (tmp_path / "p.png").exists()
