"""Post-hoc EMA on small runs: any length equals the one tracked online, whatever the batch; snapshots written, resumed, bounded."""

import itertools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import loomweight as lw
from loomweight.errors import BadParameter, BrokenFile, OutputError, TooFewSets, UnknownName
from loomweight.trajectory import EMA, Average, Exponential, PostHocEMA, Power, Snapshots, synthesise
from loomweight.weights import write

LENGTHS = (0.03, 0.05, 0.07, 0.1, 0.2)


def model(*, tied: bool = False, dtype: torch.dtype = torch.float32) -> nn.Module:
    made = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.BatchNorm1d(8), nn.Linear(8, 6, bias=False))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    if tied:
        made.append(nn.Linear(8, 6, bias=False))
        made[-1].weight = made[-2].weight
    return made.to(dtype)


def train(net: nn.Module, steps: int, after: Callable[[int], object], *, first: int = 0, batch: int = 16) -> None:
    """Noisy steps of SGD: every batch is drawn by its number."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for step in range(first, first + steps):
        x = torch.randn(batch, 6, generator=torch.Generator().manual_seed(step), dtype=torch.float64).to(next(net.parameters()).dtype)
        optimizer.zero_grad()
        (net(x) - x.flip(1)).square().mean().backward()
        optimizer.step()
        after(batch)


def run(folder: Path, steps: int = 40, every: float = 160, **options: object) -> tuple[nn.Module, PostHocEMA]:
    """A short run."""
    net = model().double()
    posthoc = PostHocEMA(net, every=every, folder=folder, **options)  # type: ignore[arg-type]
    train(net, steps, posthoc.update)
    return net, posthoc


def value(average: Average | PostHocEMA) -> lw.Weights:
    average._warned = True
    return average.value()


def distance(a: lw.Weights, b: lw.Weights) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a if a.spec[name].averages)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[float, lw.Weights], lw.Weights, lw.Weights]:
    """Snapshots of a run of 3,200 samples; what was tracked online; mean and deviation of every entry over the run."""
    folder = tmp_path_factory.mktemp("run") / "snapshots"
    net = model().double()
    posthoc = PostHocEMA(net, every=160, folder=folder)
    online = {length: Average(net, Power.of_length(length)) for length in LENGTHS}
    seen: list[dict[str, Tensor]] = []

    def after(batch: int) -> None:
        posthoc.update(batch)
        for average in online.values():
            average.update(batch)
        seen.append({name: tensor.detach().clone() for name, tensor in net.state_dict().items() if tensor.is_floating_point()})

    train(net, 200, after)
    stacked = {name: torch.stack([point[name] for point in seen]) for name in seen[0]}
    deviation = lw.load({name: points.std(0, correction=0) for name, points in stacked.items()})
    return folder, {length: value(average) for length, average in online.items()}, deviation, lw.load(stacked)


@pytest.mark.parametrize("length", LENGTHS)
def test_any_length_equals_the_one_tracked_online_within_the_stated_error(done, length: float) -> None:
    folder, online, deviation, _ = done
    found = Snapshots.of(folder).reconstruct(length)
    made = Snapshots.of(folder).weights(found)
    assert found.error < 0.1
    for name in deviation:
        off = (made[name] - online[length][name]).abs()
        assert (off <= found.worst * deviation[name] + 1e-9).all(), name
    for name in ("0.weight", "3.weight"):  # and by far less than it may be: the error is noise, which averages out
        assert (made[name] - online[length][name]).norm() <= found.error * deviation[name].norm()


@pytest.mark.parametrize("length", [0.05, 0.10])
def test_a_length_that_was_kept_comes_out_to_the_last_bit(done, length: float) -> None:
    folder, online, *_ = done
    made = synthesise(folder, length)
    assert all(torch.equal(made[name], online[length][name]) for name in made)


def test_an_ema_of_any_half_life_comes_out_too(done) -> None:
    folder, _, deviation, points = done
    profile = Exponential(400)
    state = profile.start({"w": points["3.weight"][0]})
    for point in points["3.weight"]:
        state = profile.add(state, {"w": point}, 16)
    found = Snapshots.of(folder).reconstruct(profile=profile)
    off = (Snapshots.of(folder).weights(found)["3.weight"] - profile.value(state)["w"]).abs()
    assert found.error < 0.15 and (off <= found.worst * deviation["3.weight"]).all()


@pytest.mark.parametrize("at", [1600, 2000])
def test_at_an_earlier_time_it_is_what_was_tracked_until_then(done, at: int) -> None:
    """At a snapshot (1,600), and between two (2,000), where the one after it is used too."""
    folder, _, deviation, points = done
    net = nn.Linear(8, 6, bias=False).double()
    online = Average(net, Power.of_length(0.08))
    for point in points["3.weight"][: at // 16]:
        net.weight.data = point
        online.update(16)
    found = Snapshots.of(folder).reconstruct(0.08, at=at)
    off = (Snapshots.of(folder).weights(found)["3.weight"] - online.value()["weight"]).abs()
    assert (off <= found.worst * deviation["3.weight"]).all()
    assert found.error < (0.02 if at == 1600 else 0.35)


def test_the_batch_size_changes_nothing(tmp_path: Path) -> None:
    """The same path of weights, told in steps of 16 samples and in steps of 48 where it stood still for three."""
    made = []
    for batch in (16, 48):
        net = nn.Linear(4, 3, bias=False).double()
        posthoc = PostHocEMA(net, every=240, folder=tmp_path / str(batch))
        for step in range(0, 1920, batch):
            net.weight.data = torch.randn(3, 4, generator=torch.Generator().manual_seed(step // 48), dtype=torch.float64)
            posthoc.update(batch)
        made.append(synthesise(tmp_path / str(batch), 0.13)["weight"])
    assert torch.allclose(*made, rtol=0, atol=1e-12)


def test_snapshots_hold_the_average_and_say_what_they_are(tmp_path: Path) -> None:
    net, posthoc = run(tmp_path, every=320)
    (file,) = tmp_path.glob("*640-0.1000*")
    with file.open("rb") as raw:
        header = json.loads(raw.read(int.from_bytes(raw.read(8), "little")))
    told = json.loads(header["__metadata__"]["loomweight.snapshot"])
    assert told == {"profile": "power", "gamma": Power.of_length(0.1).gamma, "length": pytest.approx(0.1), "samples": 640.0, "run": posthoc.run}
    held = lw.load(file)
    assert held.names == lw.load(net).names
    assert torch.equal(held["0.weight"], value(posthoc.tracks[1])["0.weight"])
    assert torch.equal(held["2.num_batches_tracked"], net[2].num_batches_tracked)
    assert Snapshots.of(tmp_path).samples == (320, 640) and Snapshots.of(tmp_path).lengths == pytest.approx((0.05, 0.1))


def test_counters_of_batches_are_the_last_snapshots(done) -> None:
    assert synthesise(done[0], 0.08)["2.num_batches_tracked"].item() == 200


@pytest.mark.parametrize(("stored", "rounding"), [("float16", 2**-11), ("bfloat16", 2**-8), ("float32", 2**-24), (None, 2**-53)])
def test_snapshots_are_stored_as_asked_and_the_rounding_grows_as_stated(tmp_path: Path, stored: str | None, rounding: float) -> None:
    _, posthoc = run(tmp_path / "a", dtype=stored)
    found = Snapshots.of(tmp_path / "a").reconstruct(0.15)
    run(tmp_path / "b")
    exact = Snapshots.of(tmp_path / "b").weights(found)
    made = Snapshots.of(tmp_path / "a").weights(found, dtype=torch.float64)
    assert lw.load(next((tmp_path / "a").glob("*.safetensors"))).spec["0.weight"].dtype == (getattr(torch, stored) if stored else torch.float64)
    largest = max(float(total.abs().max()) for total in posthoc.tracks[0].totals.values())
    assert distance(made, exact) <= 3 * found.growth * rounding * largest
    assert stored is None or distance(made, exact) > 0.05 * rounding


def test_a_bfloat16_model_is_averaged_and_stored_in_float32(tmp_path: Path) -> None:
    net = nn.Linear(6, 6, bias=False).bfloat16()
    posthoc = PostHocEMA(net, every=64, folder=tmp_path)
    train(net, 8, posthoc.update)
    assert synthesise(tmp_path, 0.05).spec["weight"].dtype == torch.float32
    assert torch.equal(synthesise(tmp_path, 0.05)["weight"], posthoc.tracks[0].totals["weight"])


def test_tied_and_frozen_weights_are_stored_as_the_model_has_them(tmp_path: Path) -> None:
    net = model(tied=True)
    net[0].weight.requires_grad_(False)
    posthoc = PostHocEMA(net, every=16, folder=tmp_path)
    posthoc.update(16)
    found = lw.load(next(tmp_path.glob("*.safetensors")))
    assert dict(found.ties) == {"4.weight": "3.weight"}
    assert torch.equal(found["0.weight"], net[0].weight)
    assert synthesise(tmp_path, 0.05).ties == found.ties


def test_applied_and_value_are_the_first_length(tmp_path: Path) -> None:
    net, posthoc = run(tmp_path, steps=10)
    before, kept = net[0].weight.clone(), posthoc.tracks[0].totals["0.weight"].clone()
    posthoc._warned = True
    with posthoc.applied():
        assert torch.equal(net[0].weight, kept)
    assert torch.equal(net[0].weight, before)
    assert torch.equal(value(posthoc)["0.weight"], kept)


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Killed after 57 steps, resumed from what was saved at 45: the folder is that of a run that never stopped."""
    run(tmp_path / "whole", steps=80)
    net = model().double()
    posthoc = PostHocEMA(net, every=160, folder=tmp_path / "parts")
    train(net, 45, posthoc.update)
    saved = tmp_path / "state.pt"
    torch.save({"model": net.state_dict(), "average": posthoc.state_dict()}, saved)
    train(net, 12, posthoc.update, first=45)
    state = torch.load(saved, weights_only=True)
    again = model().double()
    again.load_state_dict(state["model"])
    resumed = PostHocEMA(again, every=160, folder=tmp_path / "parts")
    resumed.load_state_dict(state["average"])
    train(again, 35, resumed.update, first=45)
    names = [sorted(path.name for path in (tmp_path / folder).iterdir()) for folder in ("whole", "parts")]
    assert names[0] == names[1] and len(names[0]) == 2 * 8
    whole, parts = (synthesise(tmp_path / folder, 0.12) for folder in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_what_a_given_up_continuation_wrote_is_gone_once_the_run_passes_there_again(tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    posthoc = PostHocEMA(net, every=10, folder=tmp_path)
    posthoc.update(10)
    state = {**posthoc.state_dict()}
    for _ in range(3):
        posthoc.update(10)
    again = PostHocEMA(net, every=10, folder=tmp_path)
    again.load_state_dict(state)
    assert Snapshots.of(tmp_path).samples == (10, 20, 30, 40)  # a state that was only looked at removes nothing
    again.update(15)
    assert Snapshots.of(tmp_path).samples == (10, 25)


def test_another_run_does_not_write_among_the_snapshots_of_this_one(tmp_path: Path) -> None:
    posthoc = PostHocEMA(nn.Linear(2, 2), every=1, folder=tmp_path)
    posthoc.update()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(OutputError, match="of another run; name another folder, or resume"):
        PostHocEMA(nn.Linear(2, 2), every=1, folder=tmp_path).update()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_bounded_folder_keeps_evenly_spaced_moments(tmp_path: Path) -> None:
    posthoc = PostHocEMA(nn.Linear(2, 2), every=10, folder=tmp_path, keep=8)
    most = 0
    for _ in range(50):
        posthoc.update(10)
        most = max(most, len(list(tmp_path.iterdir())))
    samples = Snapshots.of(tmp_path).samples
    assert most == 2 * 8 and 4 <= len(samples) <= 8
    assert len({b - a for a, b in itertools.pairwise(samples)}) == 1
    assert Snapshots.of(tmp_path).reconstruct(0.07).error < 0.05


def test_the_end_of_a_run_can_be_written(tmp_path: Path) -> None:
    posthoc = PostHocEMA(nn.Linear(2, 2), every=10, folder=tmp_path)
    for _ in range(5):
        posthoc.update(5)
    assert Snapshots.of(tmp_path).samples == (10, 20)
    assert [path.name for path in posthoc.snapshot()] == ["snapshot-000000000025-0.0500.safetensors", "snapshot-000000000025-0.1000.safetensors"]
    assert posthoc.snapshot() == [] and Snapshots.of(tmp_path).samples == (10, 20, 25)


def test_a_folder_that_cannot_be_written_to_stops_no_average(tmp_path: Path) -> None:
    """The step is taken, the error told, and the snapshot is still due."""
    (tmp_path / "taken").write_text("")
    posthoc = PostHocEMA(nn.Linear(2, 2), every=10, folder=tmp_path / "taken" / "below")
    with pytest.raises(OutputError):
        posthoc.update(10)
    assert posthoc.count == 1
    posthoc.folder = tmp_path / "free"
    posthoc.update(5)
    assert Snapshots.of(tmp_path / "free").samples == (15,)


def test_half_a_pair_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full after the first of two files: what is left of that moment goes when the next one is written."""
    from loomweight.trajectory import posthoc as module

    def full(weights: lw.Weights, path: Path, **options: object) -> Path:
        if "0.1000" in path.name:
            raise OutputError("the disk is full")
        return lw.save(weights, path, **options)  # type: ignore[arg-type]

    posthoc = PostHocEMA(nn.Linear(2, 2), every=10, folder=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(module, "save", full)
        with pytest.raises(OutputError, match="full"):
            posthoc.update(10)
    with pytest.raises(TooFewSets, match="1 snapshot of the length"):
        Snapshots.of(tmp_path)
    posthoc.update(5)
    assert Snapshots.of(tmp_path).samples == (15,)


def test_the_state_is_written_as_safetensors_and_comes_back(tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    posthoc = PostHocEMA(net, every=10, folder=tmp_path / "kept")
    for step in range(3):
        net.weight.data.fill_(step)
        posthoc.update(8)
    lw.trajectory.save_state(posthoc, tmp_path / "state.safetensors")
    again = PostHocEMA(nn.Linear(2, 2), every=10, folder=tmp_path / "kept")
    lw.trajectory.load_state(again, tmp_path / "state.safetensors")
    assert (again.run, again.count, again.clock) == (posthoc.run, posthoc.count, posthoc.clock)
    for one, other in zip(posthoc.tracks, again.tracks, strict=True):
        assert torch.equal(one.totals["weight"], other.totals["weight"]) and one.seen == other.seen


def test_nan_weights_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    posthoc = PostHocEMA(net, every=1, folder=tmp_path / "out")
    net.weight.data[0, 0] = torch.nan
    with pytest.raises(lw.errors.NonFinite, match="'weight'"):
        posthoc.update()
    assert not (tmp_path / "out").exists() and posthoc.count == 0 and [track.count for track in posthoc.tracks] == [0, 0]


def test_an_update_while_a_track_is_applied_is_refused_whole(tmp_path: Path) -> None:
    posthoc = PostHocEMA(nn.Linear(2, 2), every=10, folder=tmp_path)
    posthoc.update()
    with posthoc.tracks[1].applied(), pytest.raises(BadParameter, match="while an average is applied"):
        posthoc.update()
    assert [track.seen for track in posthoc.tracks] == [1, 1] and posthoc.clock.run == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lengths": (0.05,)}, "two or more different ones"),
        ({"lengths": (0.05, 0.05)}, "two or more different ones"),
        ({"lengths": (0.05, 0.4)}, r"at most 0\.2887"),
        ({"every": 0}, "must be positive, found 0"),
        ({"keep": 1}, "at least 2, found 1"),
    ],
)
def test_bad_settings_are_explained(tmp_path: Path, options: dict[str, object], words: str) -> None:
    with pytest.raises(BadParameter, match=words):
        PostHocEMA(nn.Linear(1, 1), **{"every": 10, "folder": tmp_path, **options})  # type: ignore[arg-type]


def test_a_state_of_another_kind_or_of_other_lengths_is_refused(tmp_path: Path) -> None:
    net = nn.Linear(1, 1)
    posthoc = PostHocEMA(net, every=10, folder=tmp_path)
    with pytest.raises(BadParameter, match="not of PostHocEMA"):
        posthoc.load_state_dict(EMA(net, half_life=10).state_dict())
    with pytest.raises(BadParameter, match=r"PostHocEMA\(0\.0500, 0\.2000\)"):
        posthoc.load_state_dict(PostHocEMA(net, (0.05, 0.2), every=10, folder=tmp_path).state_dict())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    posthoc = PostHocEMA(nn.Linear(3, 2), every=10, folder=tmp_path / "snapshots")
    for _ in range(4):
        posthoc.update(10)
    return tmp_path / "snapshots"


def test_a_missing_snapshot_is_named(folder: Path) -> None:
    (folder / "snapshot-000000000020-0.1000.safetensors").unlink()
    with pytest.raises(BrokenFile, match=r"snapshot-000000000020-0\.1000\.safetensors is missing beside snapshot-000000000020-0\.0500"):
        synthesise(folder, 0.1)


def test_a_truncated_snapshot_is_named(folder: Path) -> None:
    file = folder / "snapshot-000000000020-0.1000.safetensors"
    os.truncate(file, file.stat().st_size - 5)
    with pytest.raises(BrokenFile, match=r"snapshot-000000000020-0\.1000"):
        synthesise(folder, 0.1)


def test_a_file_that_is_no_snapshot_is_named(folder: Path) -> None:
    lw.save({"w": torch.zeros(1)}, folder / "snapshot-best.safetensors")
    with pytest.raises(BrokenFile, match=r"snapshot-best\.safetensors.*header does not say"):
        Snapshots.of(folder)


@pytest.mark.parametrize("told", ["{", '{"gamma": 1}', '{"gamma": "x", "samples": 1, "run": ""}', '{"gamma": 1, "samples": -1, "run": ""}'])
def test_a_header_that_lies_is_named(folder: Path, told: str) -> None:
    lw.save({"w": torch.zeros(1)}, folder / "snapshot-x.safetensors", metadata={"loomweight.snapshot": told})
    with pytest.raises(BrokenFile, match=r"snapshot-x\.safetensors"):
        Snapshots.of(folder)


def test_snapshots_of_one_length_are_not_enough(folder: Path) -> None:
    for path in folder.glob("*-0.1000*"):
        path.unlink()
    with pytest.raises(TooFewSets, match=r"4 snapshots of the length 0\.0500 and of no other"):
        synthesise(folder, 0.1)


def test_snapshots_of_two_runs_in_one_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    other = PostHocEMA(nn.Linear(3, 2), every=7, folder=tmp_path / "other")
    other.update(7)
    for path in (tmp_path / "other").iterdir():
        shutil.copy(path, folder)
    with pytest.raises(BrokenFile, match="several runs"):
        synthesise(folder, 0.1)


def test_a_snapshot_of_another_model_is_named(folder: Path) -> None:
    file = folder / "snapshot-000000000020-0.1000.safetensors"
    kept = Snapshots.of(folder).members[3]
    assert kept.path == file
    lw.save({"w": torch.zeros(1)}, file, metadata=kept.metadata_of(Power.of_length(0.1), 20, kept.run), overwrite=True)
    with pytest.raises(lw.errors.NamesDiffer, match=r"snapshot-000000000020-0\.1000"):
        synthesise(folder, 0.07)


def test_a_wish_that_cannot_be_is_explained(folder: Path, tmp_path: Path) -> None:
    kept = Snapshots.of(folder)
    with pytest.raises(BadParameter, match="give a length, or a profile; found length=None"):
        kept.reconstruct()
    with pytest.raises(BadParameter, match=r"at most 0\.2887.*found 0\.5"):
        kept.reconstruct(0.5)
    with pytest.raises(BadParameter, match="last snapshot was taken after 40 samples; nothing is known of 41"):
        kept.reconstruct(0.1, at=41)
    with pytest.raises(UnknownName, match="no such file or folder"):
        synthesise(tmp_path / "nowhere", 0.1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(TooFewSets, match="holds no snapshots"):
        synthesise(tmp_path / "empty", 0.1)


def test_each_snapshot_is_read_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries that blocks of the files hand out while an average is written, against what the files hold."""
    from loomweight.weights import store

    read: list[int] = []
    opening = store.Store.open

    def counted(self: store.Store, name: str) -> Callable[[int, int], Tensor]:
        block = opening(self, name)
        return lambda lo, hi: (read.append(hi - lo), block(lo, hi))[1]

    monkeypatch.setattr(store.Store, "open", counted)
    write(synthesise(folder, 0.07), lw.weights.Output(tmp_path / "out.safetensors"))
    assert sum(read) == 8 * (3 * 2 + 2)
    read.clear()
    write(synthesise(folder, 0.05), lw.weights.Output(tmp_path / "alone.safetensors"))
    assert sum(read) == 3 * 2 + 2
