"""Folders, indexes and torch files that must not be believed: refused with a message, never guessed at."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import loomweight as lw
from loomweight import errors

INDEX = "model.safetensors.index.json"


def index(folder: Path, places: Any) -> Path:
    (folder / INDEX).write_text(json.dumps({"weight_map": places}))
    return folder


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    """Two shards, a and b, and their index."""
    folder = tmp_path / "sharded"
    folder.mkdir()
    for at, name in enumerate("ab", 1):
        save_file({name: torch.full((2,), float(at))}, folder / f"model-0000{at}-of-00002.safetensors")
    return index(folder, {name: f"model-0000{at}-of-00002.safetensors" for at, name in enumerate("ab", 1)})


def test_the_folder_is_good_before_it_is_broken(sharded: Path) -> None:
    assert dict(lw.load(sharded)).keys() == {"a", "b"}


def test_a_shard_is_missing(sharded: Path) -> None:
    (sharded / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(errors.BrokenFile, match=r"index\.json: the file 'model-00002-of-00002\.safetensors' is missing"):
        lw.load(sharded)
    (sharded / INDEX).unlink()
    with pytest.raises(errors.BrokenFile, match=r"shards are missing: 'model-00002-of-00002\.safetensors'"):
        lw.load(sharded)


def test_a_shard_is_truncated(sharded: Path) -> None:
    shard = sharded / "model-00002-of-00002.safetensors"
    os.truncate(shard, shard.stat().st_size - 1)
    with pytest.raises(errors.BrokenFile, match=r"model-00002-of-00002\.safetensors: tensor 'b' ends at byte .* truncated"):
        lw.load(sharded)


def test_index_and_shards_disagree(sharded: Path) -> None:
    places = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    with pytest.raises(errors.BrokenFile, match=r"index\.json: lists 'c' in 'model-00002-of-00002\.safetensors', which lacks it"):
        lw.load(index(sharded, places | {"c": places["b"]}))
    with pytest.raises(errors.BrokenFile, match=r"lists 'b' in 'model-00001-of-00002\.safetensors', which lacks it"):
        lw.load(index(sharded, places | {"b": places["a"], "b2": places["b"]}))
    save_file({"a": torch.ones(1), "extra": torch.ones(1)}, sharded / places["a"])
    with pytest.raises(errors.BrokenFile, match=r"'model-00001-of-00002\.safetensors' holds 'extra', which the index does not list there"):
        lw.load(index(sharded, places))


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "..", "sub/x.safetensors", "..\\secret.safetensors", "a\0b", ""])
def test_an_index_leads_out_of_its_folder(sharded: Path, name: str) -> None:
    save_file({"b": torch.ones(2)}, sharded.parent / "secret.safetensors")
    with pytest.raises(errors.UnsafeFile, match=r"index\.json: names the file .*only plain names"):
        lw.load(index(sharded, {"a": "model-00001-of-00002.safetensors", "b": name}))


def test_a_link_leads_out_of_its_folder(sharded: Path) -> None:
    save_file({"b": torch.ones(2)}, sharded.parent / "secret.safetensors")
    (sharded / "model-00002-of-00002.safetensors").unlink()
    (sharded / "model-00002-of-00002.safetensors").symlink_to("../secret.safetensors")
    with pytest.raises(errors.UnsafeFile, match=r"model-00002-of-00002\.safetensors: a link to .*secret\.safetensors, outside the folder"):
        lw.load(sharded)
    assert list(lw.load(sharded / "model-00002-of-00002.safetensors")) == ["b"]  # named by the user, a link is a file


def test_a_link_within_the_folder_and_a_linked_folder_are_fine(sharded: Path) -> None:
    (sharded / "model-00002-of-00002.safetensors").rename(sharded / "b.real")
    (sharded / "model-00002-of-00002.safetensors").symlink_to("b.real")
    (sharded.parent / "latest").symlink_to(sharded)
    assert lw.load(sharded.parent / "latest").header == lw.load(sharded).header


def test_a_link_to_nothing(sharded: Path) -> None:
    (sharded / "model-00002-of-00002.safetensors").unlink()
    (sharded / "model-00002-of-00002.safetensors").symlink_to("gone")
    with pytest.raises(errors.BrokenFile, match="is missing, or a link to nothing"):
        lw.load(sharded)


@pytest.mark.parametrize("name", ["\ud800", "x" * 5000, "\n"])
def test_an_index_names_what_can_be_no_file(sharded: Path, name: str) -> None:
    with pytest.raises(errors.BrokenFile, match="is missing"):
        lw.load(index(sharded, {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors", "c": name}))


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"weight_map": []}', '{"weight_map": {}}', '{"weight_map": {"a": 1}}', '{"weight_map": {"a": "x", "a": "y"}}']
)
def test_an_index_of_another_structure(sharded: Path, text: str) -> None:
    (sharded / INDEX).write_text(text)
    with pytest.raises(errors.BrokenFile, match=r"index\.json: (not valid JSON|expected)"):
        lw.load(sharded)


def test_two_saves_in_one_folder_are_not_mixed(sharded: Path) -> None:
    """mergekit leaves both behind, and readers then disagree about which is the model."""
    save_file({"a": torch.zeros(2), "b": torch.zeros(2)}, sharded / "model.safetensors")
    with pytest.raises(errors.BrokenFile, match=r"holds 'model\.safetensors\.index\.json' and also 'model\.safetensors' of another save; one is stale"):
        lw.load(sharded)
    (sharded / INDEX).unlink()
    with pytest.raises(errors.BrokenFile, match=r"holds 'model\.safetensors' and also 'model-00001-of-00002\.safetensors'"):
        lw.load(sharded)


def test_shards_of_an_earlier_save_are_not_mixed(sharded: Path) -> None:
    save_file({"c": torch.zeros(2)}, sharded / "model-00003-of-00003.safetensors")
    with pytest.raises(errors.BrokenFile, match=r"and also 'model-00003-of-00003\.safetensors' of another save"):
        lw.load(sharded)


def test_an_index_over_the_single_file_is_one_save(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "model.safetensors")
    assert list(lw.load(index(tmp_path, {"a": "model.safetensors"}))) == ["a"]


def test_two_files_hold_one_name(tmp_path: Path) -> None:
    for file in ("x", "y"):
        save_file({"w": torch.zeros(2)}, tmp_path / f"{file}.safetensors")
    with pytest.raises(errors.BrokenFile, match=r"tensor 'w' is in .*x\.safetensors and in .*y\.safetensors"):
        lw.load(tmp_path)


def test_several_indexes(tmp_path: Path) -> None:
    for stem in ("x", "y"):
        (tmp_path / f"{stem}.safetensors.index.json").write_text("{}")
    with pytest.raises(errors.BrokenFile, match="holds several indexes"):
        lw.load(tmp_path)


def test_a_folder_without_weights_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    save_file({"w": torch.ones(1)}, tmp_path / "unet" / "model.safetensors")
    (tmp_path / "README.md").write_text("hello")
    with pytest.raises(errors.BrokenFile, match=r"no weights .* holds 'README\.md'; folders below it hold some: 'unet'"):
        lw.load(tmp_path)


def test_a_path_that_does_not_exist_gets_the_nearest(sharded: Path) -> None:
    with pytest.raises(errors.UnknownName, match=r"no such file or folder: '.*shardet'; near it: 'sharded'"):
        lw.load(sharded.parent / "shardet")
    with pytest.raises(errors.UnknownName, match=r"is no folder either"):
        lw.load(sharded.parent / "nowhere" / "x")
    with pytest.raises(errors.UnknownName, match=r"no such file.*hf download meta-llama/Llama-9"):
        lw.load("meta-llama/Llama-9")
    with pytest.raises(errors.UnknownName, match="no such file"):
        lw.load("x" * 5000)
    with pytest.raises(errors.UnknownName, match="no such file"):
        lw.load("a\0b")


@pytest.mark.timeout(20)
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.safetensors")
    for path in (tmp_path, tmp_path / "model.safetensors"):
        with pytest.raises(errors.BrokenFile, match="not a regular file"):
            lw.load(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    save_file({"w": torch.ones(1)}, tmp_path / "x.safetensors")
    (tmp_path / "x.safetensors").chmod(0)
    with pytest.raises(errors.BrokenFile, match="cannot be read: Permission denied"):
        lw.load(tmp_path / "x.safetensors")


class Evil:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.trace}",)


@pytest.mark.parametrize("kind", ["zip", "old", "plain pickle"])
@pytest.mark.parametrize("suffix", [".pt", ".bin", ""])
def test_a_pickle_with_code_is_never_run(kind: str, suffix: str, tmp_path: Path) -> None:
    path, trace = tmp_path / f"x{suffix}", tmp_path / "pwned"
    content = {"w": torch.ones(2), "e": Evil(trace)}
    if kind == "plain pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(errors.UnsafeFile, match=r"the pickle asks for .*is never done; save the state dict alone"):
        lw.load(path)
    assert not trace.exists()


def test_the_code_would_have_run(tmp_path: Path) -> None:
    """The twin: the same content, unpickled plainly, leaves its trace."""
    pickle.loads(pickle.dumps(Evil(tmp_path / "pwned")))
    assert (tmp_path / "pwned").exists()


def test_a_whole_module_names_the_class_that_it_asks_for(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "x.pt")
    with pytest.raises(errors.UnsafeFile, match=r"the pickle asks for torch\.nn\.modules\.linear\.Linear"):
        lw.load(tmp_path / "x.pt")


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("part", [0, 0.3, 0.9])
def test_a_torch_file_cut_short(old: bool, part: float, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"w": torch.ones(1000)}, path, _use_new_zipfile_serialization=not old)
    os.truncate(path, int(part * path.stat().st_size))
    with pytest.raises(errors.BrokenFile, match=r"x\.pt: not a whole torch file"):
        lw.load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": {"w": torch.ones(1)}, "ema": {"w": torch.ones(1)}}, r"not clearly one: it holds 'ema \(dict\)', 'model \(dict\)'"),
        ({"model": {"w": torch.ones(1)}, "step": torch.ones(1)}, "not clearly one"),
        ({"teacher": {"w": torch.ones(1)}}, "not clearly one"),
        ({"w": torch.ones(1), "step": 3}, r"'step \(int\)', 'w \(Tensor\)'"),
        ([torch.ones(1)], "expected a state dict, found a list"),
        (torch.ones(1), "expected a state dict, found a Tensor"),
        ({"w": torch.ones(2).to_sparse()}, "'w' is a tensor of layout torch.sparse_coo"),
    ],
)
def test_a_torch_file_without_a_clear_state_dict(content: Any, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(errors.BrokenFile, match=message):
        lw.load(tmp_path / "x.pt")


@pytest.mark.parametrize(("start", "kind"), [(b"GGUF", "GGUF"), (b"\x89HDF\r\n", "HDF5"), (b"\x93NUMPY", "NumPy")])
def test_files_of_other_kinds_are_named(start: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(start + bytes(64))
    with pytest.raises(errors.BrokenFile, match=f"a {kind}.* file, which is not understood; convert it"):
        lw.load(tmp_path / "x.bin")
