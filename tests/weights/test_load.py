"""`load` of every format: the same names, dtypes, bits and ties as were saved, in an order that files do not decide."""

import json
import random
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file, save_model
from torch import Tensor, nn

import loomweight as lw
from loomweight import errors
from loomweight.weights.load import _load
from loomweight.weights.order import natural

from .files import DTYPES, DTYPES_OF_OLD_TORCH, bits, entry, state_dicts, write


def same(loaded: lw.Weights, tensors: dict[str, Tensor]) -> bool:
    """Bit for bit, with shapes and dtypes."""
    assert {name: (loaded.spec[name].shape, loaded.spec[name].dtype) for name in loaded} == {n: (tuple(t.shape), t.dtype) for n, t in tensors.items()}
    return all(bits(loaded[name]) == bits(tensor) and loaded[name].shape == tensor.shape for name, tensor in tensors.items())


@given(tensors=state_dicts(), at=st.integers(0, 12))
def test_a_safetensors_file_comes_back_bit_for_bit(tensors: dict[str, Tensor], at: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        save_file({name: tensor for name, tensor in tensors.items() if name != "__metadata__"}, path)
        loaded = lw.load(path)
        assert same(loaded, tensors)
        for name, tensor in tensors.items():
            cut, block = min(at, tensor.numel()), loaded.open(name)
            assert bits(block(0, cut)) + bits(block(cut, tensor.numel())) == bits(tensor)


@given(kind=st.sampled_from([("new", DTYPES), ("old", DTYPES_OF_OLD_TORCH)]), data=st.data())
def test_a_torch_file_comes_back_bit_for_bit(kind: tuple[str, list[torch.dtype]], data: st.DataObject) -> None:
    tensors = data.draw(state_dicts(kind[1]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.pt"
        torch.save(tensors, path, _use_new_zipfile_serialization=kind[0] == "new")
        if tensors:
            assert same(lw.load(path), tensors)
        else:
            with pytest.raises(errors.BrokenFile, match="no state dict"):
                lw.load(path)


@pytest.fixture
def model() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {f"layers.{i}.{word}": torch.randn(3, i + 1, generator=generator) for i in range(12) for word in ("up", "down")}


def shard(folder: Path, tensors: dict[str, Tensor], count: int, seed: int, index: bool = True) -> Path:
    """Spread tensors over `count` files at random."""
    folder.mkdir()
    places = {name: f"model-{random.Random(f'{seed}{name}').randrange(count) + 1:05}-of-{count:05}.safetensors" for name in tensors}
    places |= {name: f"model-{at:05}-of-{count:05}.safetensors" for at, name in enumerate(list(tensors)[:count], 1)}  # none stays empty
    for file in set(places.values()):
        save_file({name: tensors[name] for name in tensors if places[name] == file}, folder / file, {"format": "pt"})
    if index:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


@pytest.mark.parametrize("index", [True, False])
def test_files_do_not_decide_the_set(model: dict[str, Tensor], tmp_path: Path, index: bool) -> None:
    save_file(model, tmp_path / "one.safetensors")
    whole = lw.load(tmp_path / "one.safetensors")
    for count, seed in ((1, 0), (3, 1), (5, 2)):
        spread = lw.load(shard(tmp_path / f"{count}", model, count, seed, index))
        assert same(spread, model)
        assert spread.names == whole.names == lw.load(model).names == tuple(natural(model))
        assert spread.header == whole.header


def test_names_are_in_the_order_of_their_numbers() -> None:
    assert natural(["h.10.a", "h.9.b", "h.009.b", "H", "h", "h.9"]) == ["H", "h", "h.9", "h.009.b", "h.9.b", "h.10.a"]
    assert natural(["9" * 5000 + ".a", "10"]) == ["10", "9" * 5000 + ".a"]


def test_an_index_may_be_named_itself(model: dict[str, Tensor], tmp_path: Path) -> None:
    folder = shard(tmp_path / "m", model, 3, 0)
    assert lw.load(folder / "model.safetensors.index.json") == lw.load(folder)
    assert lw.load(folder).label == lw.load(str(folder) + "/").label == "m"
    assert {path.name for path in lw.load(folder).sources} == {"m", *(f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3))}


def test_torch_shards_with_an_index(model: dict[str, Tensor], tmp_path: Path) -> None:
    names = list(model)
    for file, part in (("a.bin", names[::2]), ("b.bin", names[1::2])):
        torch.save({name: model[name] for name in part}, tmp_path / file)
    places = {name: "a.bin" if at % 2 == 0 else "b.bin" for at, name in enumerate(names)}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    assert same(lw.load(tmp_path), model)


def test_which_files_of_a_folder_count(tmp_path: Path) -> None:
    """As in transformers: safetensors before torch, the standard name before others."""
    torch.save({"w": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    assert lw.load(tmp_path)["w"].item() == 0
    save_file({"w": torch.ones(1)}, tmp_path / "model.safetensors")
    assert lw.load(tmp_path)["w"].item() == 1
    save_file({"x": torch.ones(1)}, tmp_path / "consolidated.safetensors")
    assert list(lw.load(tmp_path)) == ["w"]
    (tmp_path / "model.safetensors").unlink()
    assert list(lw.load(tmp_path)) == ["x"]


def test_a_plain_folder_is_the_union_of_its_files(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "encoder.safetensors")
    save_file({"b": torch.ones(2)}, tmp_path / "decoder.safetensors")
    assert same(lw.load(tmp_path), {"a": torch.zeros(2), "b": torch.ones(2)})


def test_a_checkpoint_is_opened_at_its_only_state_dict(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {"w": torch.ones(2)}, "epoch": 3, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}}, path)
    loaded = lw.load(path)
    assert list(loaded) == ["w"] and loaded.label == "last['state_dict']"


def test_views_of_one_storage_in_a_torch_file_are_tied(tmp_path: Path) -> None:
    shared = torch.randn(4, 2)
    torch.save({"z": shared, "a": shared, "part": shared[:2], "other": shared.clone()}, tmp_path / "x.pt")
    loaded = lw.load(tmp_path / "x.pt")
    assert dict(loaded.ties) == {"z": "a"} and loaded["part"].tolist() == shared[:2].tolist()


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.zebra = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.zebra.weight
        self.norm = nn.BatchNorm1d(3)


def test_a_module_and_its_saved_file_agree_on_ties(tmp_path: Path) -> None:
    module = Tied()
    save_model(module, str(tmp_path / "x.safetensors"), {"format": "pt"})
    saved, live = lw.load(tmp_path / "x.safetensors"), lw.load(module)
    assert dict(saved.ties) == dict(live.ties) == {"zebra.weight": "head.weight"}
    assert saved.header == live.header and same(saved, module.state_dict())
    assert "norm.num_batches_tracked" in live and live.label == "Tied"
    assert lw.norm(saved.select("*weight") - live.select("*weight")) == 0


def test_sets_agree_whichever_name_owns_a_shared_tensor(tmp_path: Path) -> None:
    module = Tied()
    save_model(module, str(tmp_path / "x.safetensors"))
    saved, plain = lw.load(tmp_path / "x.safetensors").select("*.weight"), lw.Weights.of(module.state_dict()).select("*.weight")
    assert set(saved.physical) != set(plain.physical)
    assert lw.norm(saved - plain) == lw.norm(plain - saved) == 0
    module.head.weight = nn.Parameter(module.head.weight.detach().clone())
    with pytest.raises(errors.TiesDiffer, match=r"^'head\.weight', 'zebra\.weight' shared with another name in one of x and Tied only"):
        saved - lw.load(module).select("*.weight")


def test_metadata_make_ties_only_of_names_that_exist(tmp_path: Path) -> None:
    words = {"format": "a", "author": "nobody", "b": "a", "c": "missing", "a": "a"}
    save_file({"a": torch.ones(2)}, tmp_path / "x.safetensors", words)
    assert dict(lw.load(tmp_path / "x.safetensors").ties) == {"b": "a"}


def test_tensors_that_are_not_aligned_are_read_all_the_same(tmp_path: Path) -> None:
    data = bytes([7]) + torch.arange(3.0).numpy().tobytes()
    header = {"byte": entry("U8", [1], 0, 1), "floats": entry("F32", [3], 1, 13)}
    loaded = lw.load(write(tmp_path / "x.safetensors", header, data))
    assert loaded["floats"].tolist() == [0, 1, 2] and loaded.open("floats")(1, 3).tolist() == [1, 2]


def test_what_is_in_memory_is_taken_as_it_is() -> None:
    tensors = {"b.10": torch.ones(2), "b.9": torch.zeros(3)}
    loaded = lw.load(tensors, label="two")
    assert list(loaded) == ["b.9", "b.10"] and loaded.label == "two"
    assert lw.load(loaded) is loaded
    renamed = lw.load(loaded, label="other")
    assert (renamed.label, loaded.label) == ("other", "two") and renamed == loaded
    with pytest.raises(errors.BadParameter, match="cannot load a int"):
        _load(3, None)  # below the annotation, which pytest checks
    with pytest.raises(errors.BadParameter, match="found the key 3"):
        _load({3: torch.ones(1)}, None)


def test_a_set_is_known_by_its_files(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"w": torch.ones(2)}, path)
    first, again = lw.load(path), lw.load(path)
    assert first == again and hash(first) == hash(again) and repr(first) == "Weights(x, 1 tensor, 2 parameters, float32)"
    save_file({"w": torch.ones(2)}, tmp_path / "y.safetensors")
    assert first != lw.load(tmp_path / "y.safetensors")


def test_a_file_without_a_suffix_is_told_by_its_first_bytes(tmp_path: Path) -> None:
    save_file({"w": torch.ones(2)}, tmp_path / "0a1b2c")
    torch.save({"w": torch.ones(2)}, tmp_path / "3d4e5f")
    assert same(lw.load(tmp_path / "0a1b2c"), {"w": torch.ones(2)}) and same(lw.load(tmp_path / "3d4e5f"), {"w": torch.ones(2)})


def test_the_hub_cache_is_read_and_its_links_into_blobs_are_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    home = tmp_path / "models--some--thing"
    snapshot = home / "snapshots" / ("c" * 40)
    for folder in (snapshot, home / "blobs", home / "refs"):
        folder.mkdir(parents=True)
    (home / "refs" / "main").write_text("c" * 40)
    save_file({"w": torch.ones(2)}, home / "blobs" / "0a1b")
    (snapshot / "model.safetensors").symlink_to("../../blobs/0a1b")
    assert lw.load(snapshot)["w"].tolist() == [1, 1]
    assert lw.load("some/thing") == lw.load(f"some/thing@{'c' * 40}") == lw.load(snapshot)
    assert lw.load("some/thing").label == "some/thing"
    with pytest.raises(errors.UnknownName, match=r"hf download some/other --revision v1"):
        lw.load("some/other@v1")


def test_the_config_is_handed_on(tmp_path: Path) -> None:
    save_file({"w": torch.ones(2)}, tmp_path / "model.safetensors")
    assert lw.weights.config_of(tmp_path) is None
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert lw.weights.config_of(tmp_path) == lw.weights.config_of(tmp_path / "model.safetensors") == {"model_type": "llama"}
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(errors.BrokenFile, match=r"config\.json: not valid JSON"):
        lw.weights.config_of(tmp_path)


def test_a_sharded_save_of_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2, vocab_size=64)
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(tmp_path, max_shard_size="10KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 3
    assert same(lw.load(tmp_path), model.state_dict()) and lw.weights.config_of(tmp_path)["model_type"] == "llama"
