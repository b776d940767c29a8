"""Where a merge may write: never over something else unasked, never into an input, never half; and never a stale result."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import loomweight as lw

from ..cli.run import run
from .scene import LINEAR, WEIGHTS, everything, merged, recipe, refused, same, tensors, told

OTHER = LINEAR.replace("weight: 1", "weight: 3", 1)


def middle(out: str = "out") -> torch.Tensor:
    return lw.load(out)["model.layers.2.mlp.down_proj.weight"]


def expected(share: float) -> torch.Tensor:
    one, two = (tensors(model)["model.layers.2.mlp.down_proj.weight"].double() for model in ("one", "two"))
    return (share * one + (1 - share) * two).float()


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("first", "second"), [("5GB", "2KB"), ("2KB", "5GB"), ("2KB", "3KB")])
def test_a_second_merge_into_one_folder(first: str, second: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The peer leaves the files of both there, and readers then disagree about which is the model."""
    from transformers import AutoModelForCausalLM

    merged(capsys, LINEAR, "--shard-size", first)
    old = everything(Path("out"))
    refused(capsys, "merge", recipe(OTHER), "out", "--shard-size", second, says=r"out exists already; choose another path, or overwrite .*--overwrite")
    assert everything(Path("out")) == old
    merged(capsys, OTHER, "--shard-size", second, "--overwrite")
    merged(capsys, OTHER, "--shard-size", second, out="fresh")
    assert everything(Path("out")) == everything(Path("fresh"))
    model = AutoModelForCausalLM.from_pretrained("out")
    assert same(model.model.layers[2].mlp.down_proj.weight, expected(0.75)) and not same(expected(0.75), expected(0.5))


@pytest.mark.usefixtures("here")
def test_an_overwrite_that_fails_leaves_the_old_output(capsys: pytest.CaptureFixture[str]) -> None:
    merged(capsys, LINEAR)
    found = tensors("two")
    found["lm_head.weight"][0, 0] = torch.nan
    lw.save(found, "two/new.safetensors")
    Path("two/new.safetensors").replace(Path("two") / WEIGHTS)
    refused(capsys, "merge", recipe(OTHER), "out", "--overwrite", says=r"two: tensor 'lm_head\.weight' holds nan at \[0, 0\]")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
@pytest.mark.parametrize(
    ("out", "says"),
    [
        ("one", r"one is an input; write the output elsewhere"),
        ("./two/../one", r"one is an input"),
        ("alias", r"one is an input"),
        ("one/merged", r"one/merged lies inside the input .*one"),
        ("two/new.safetensors", r"two/new\.safetensors lies inside the input"),
        ("one/model.safetensors", r"one/model\.safetensors lies inside the input"),
        (".", r"the input .* lies inside the output"),
        ("..", r"the input .* lies inside the output"),
        ("notes", r"notes is a file, and the output is a folder"),
        ("folder.safetensors", r"folder\.safetensors is a folder, and the output is a file"),
    ],
)
def test_inputs_and_files_of_other_kinds_are_no_place(out: str, says: str, overwrite: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    Path("notes").write_text("dear to somebody")
    Path("folder.safetensors").mkdir()
    Path("alias").symlink_to("one")
    refused(capsys, "merge", recipe(LINEAR), out, *overwrite, says=says)


FISHER = "merge_method: fisher\nmodels:\n  - {model: one, parameters: {evidence: f/one}}\n  - {model: two, parameters: {evidence: f/two.safetensors}}\n"


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
@pytest.mark.parametrize(
    ("out", "says"),
    [
        ("f/one", r"f/one is an input; write the output elsewhere"),
        ("f/one/out", r"f/one/out lies inside the input .*f/one"),
        ("f/two.safetensors", r"f/two\.safetensors is an input"),
        ("f", r"the input .*f/\S+ lies inside the output"),
    ],
)
def test_evidence_is_an_input_too(out: str, says: str, overwrite: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    for place in ("f/one", "f/two.safetensors"):
        lw.save({name: value.square() + 1 for name, value in tensors("one").items()}, place)
    refused(capsys, "merge", recipe(FISHER), out, *overwrite, says=says)
    text = "name: middle\n" + FISHER + "---\nmerge_method: passthrough\nmodels: [{model: middle}]\n"
    refused(capsys, "merge", recipe(text), out, *overwrite, says=says)
    merged(capsys, FISHER)


@pytest.mark.usefixtures("here")
def test_a_folder_without_weights_is_not_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    Path("thesis").mkdir()
    Path("thesis/chapter1.tex").write_text("dear to somebody")
    refused(capsys, "merge", recipe(LINEAR), "thesis", says=r"thesis exists already")
    refused(capsys, "merge", recipe(LINEAR), "thesis", "--overwrite", says=r"thesis holds no weights, so it is not overwritten")


@pytest.mark.usefixtures("here")
def test_the_recipe_that_lies_in_an_output_is_not_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    merged(capsys, LINEAR)
    for name in ("out/loomweight.yaml", "out/mine.yaml"):
        Path(name).write_text(LINEAR)
        refused(capsys, "merge", name, "out", "--overwrite", says=rf"the input .*{name} lies inside the output")


GRAPH = """name: half
merge_method: linear
models: [{model: one, parameters: {weight: SHARE}}, {model: two, parameters: {weight: 1}}]
---
name: copy
merge_method: passthrough
models: [{model: half}]
"""


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("keep", [(), ("--keep-middle", "middle")])
def test_an_edited_recipe_never_gives_the_stale_result(keep: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """The peer keeps both the middle and the final output of the unedited recipe, and says nothing."""
    for share in (1, 3):
        merged(capsys, GRAPH.replace("SHARE", str(share)), "--overwrite", *keep)
        assert same(middle(), expected(share / (share + 1)))
        assert not keep or same(middle("middle/half"), expected(share / (share + 1)))
    refused(capsys, "merge", "r.yaml", "out", *keep, says=r"exists already")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("out", "keep"), [("out", "out"), ("out/half/x", "out"), ("half", ".")])
def test_results_do_not_go_into_one_another(out: str, keep: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = GRAPH.replace("SHARE", "1")
    refused(capsys, "merge", recipe(text), out, "--keep-middle", keep, says=r"would hold two results, or lie inside another one; name folders apart")


@pytest.mark.usefixtures("here")
def test_several_results_in_one_file_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    text = GRAPH.replace("SHARE", "1").replace("model: half", "model: one")
    refused(capsys, "merge", recipe(text), "out.safetensors", says=r"2 documents are written: half, copy; name a folder")


@pytest.mark.usefixtures("here")
def test_a_report_that_is_there_stops_the_merge_before_it_starts(capsys: pytest.CaptureFixture[str]) -> None:
    Path("r.html").write_text("old")
    refused(capsys, "merge", recipe(LINEAR), "out", "--report", "r.html", says=r"r\.html exists; .*--overwrite")


@pytest.mark.usefixtures("here")
def test_a_dry_run_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    recipe(LINEAR)
    before = everything(Path.cwd())
    ran = run(capsys, "merge", "r.yaml", "out", "--dry-run", "--report", "r.html")
    assert ran.code == 0 and "linear of one, two" in ran.out and everything(Path.cwd()) == before


@pytest.mark.usefixtures("here")
def test_no_path_of_this_machine_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    text = LINEAR.replace("one", str(Path("one").absolute())).replace("two", str(Path("two").absolute()))
    merged(capsys, text)
    for path in Path("out").iterdir():
        assert str(Path.cwd()).encode() not in path.read_bytes(), path


@pytest.fixture
def small_disk(here: Path) -> Iterator[Path]:
    """A file system of 64 KiB in the working folder."""
    disk = here / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_is_too_small_is_known_before_anything_is_written(small_disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (small_disk / "filler").write_bytes(bytes(58 << 10))
    refused(
        capsys, "merge", recipe(LINEAR), "disk/out", says=r"the disk of .*disk is too full for .*disk/out: [\d,]+ bytes needed, [\d,]+ bytes free; make room"
    )


@pytest.mark.parametrize("size", [20, 28, 40])
def test_a_disk_that_fills_meanwhile(size: int, small_disk: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else fills the disk after the check. The old output stands; what is done can be gone on with when there is room."""
    merged(capsys, LINEAR, out="disk/out")
    old = everything(small_disk / "out")
    inputs = everything(Path("one"))
    with monkeypatch.context() as patch:
        patch.setattr("loomweight.weights.place.Place.room", lambda self, needed: (small_disk / "filler").write_bytes(bytes(size << 10)))
        ran = run(capsys, "merge", recipe(OTHER), "disk/out", "--overwrite")
    told(ran, r"the disk is full: .*disk/out cannot be completed; make room")
    assert everything(small_disk / "out") == old and everything(Path("one")) == inputs
    (small_disk / "filler").unlink()
    merged(capsys, OTHER, "--overwrite", "--resume", out="disk/out")
    assert same(middle("disk/out"), expected(0.75))
    assert sorted(path.name for path in small_disk.iterdir()) == ["out"]


@pytest.mark.usefixtures("here")
def test_a_config_that_is_not_this_models_is_not_copied_into_a_cut_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Slices change the depth; the config that is written says so."""
    merged(capsys, "merge_method: passthrough\nslices:\n  - sources: [{model: one, layer_range: [1, 3]}]\n")
    assert json.loads(Path("out/config.json").read_text())["num_hidden_layers"] == 2
