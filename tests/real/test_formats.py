"""The forms in which real checkpoints come: shards, torch files, half precision, buffers of older versions, mixtures of these."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.testing import assert_close

from loomweight.errors import IntegersDiffer
from loomweight.merge.run import Options

from .architectures import ALL, CLIP, LLAMA, MIXTRAL, Architecture
from .merging import apart, by_hand, loaded, merged, same_tensors, saved, with_state

BY_NAME = {architecture.name: architecture for architecture in ALL}
HALVES = "{merge_method: linear, models: [{model: one}, {model: two}], parameters: {weight: 1}}"


def half(one: Tensor, two: Tensor) -> Tensor:
    return (one + two) / 2


def two_of(architecture: Architecture) -> dict[str, Any]:
    return {"one": architecture.tuned(1), "two": architecture.tuned(2)}


def as_torch_file(folder: Path, model: Any) -> None:
    """What Transformers wrote before safetensors: every name of the state dict, the shared ones too."""
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


@pytest.mark.parametrize("architecture", [LLAMA, MIXTRAL, BY_NAME["gpt2"]], ids=repr)
def test_shards_in_and_shards_out(tmp_path: Path, architecture: Architecture) -> None:
    models = two_of(architecture)
    saved(tmp_path, {"one": models["one"]}, shard_size="8KB")
    saved(tmp_path, {"two": models["two"]}, shard_size="13KB")
    assert len(list((tmp_path / "one").glob("model-*.safetensors"))) > len(list((tmp_path / "two").glob("model-*.safetensors"))) > 1
    out = merged(tmp_path, HALVES, Options(threads=2, progress=False, shard_size="10KB"))
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 1
    same_tensors(loaded(type(models["one"]), out), by_hand(list(models.values()), half))


@pytest.mark.parametrize("name", ["llama", "t5", "gpt2", "whisper"])
def test_torch_files(tmp_path: Path, name: str) -> None:
    models = two_of(BY_NAME[name])
    for key, model in models.items():
        as_torch_file(tmp_path / key, model)
    out = merged(tmp_path, HALVES)
    model = loaded(type(models["one"]), out)
    same_tensors(model, by_hand(list(models.values()), half))
    assert not set(BY_NAME[name].ties) & set(load_file(out / "model.safetensors"))


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_half_precision_is_rounded_once(tmp_path: Path, name: str) -> None:
    architecture = BY_NAME[name]
    models = {key: model.bfloat16() for key, model in (two_of(architecture) | {"base": architecture.base}).items()}
    saved(tmp_path, models)
    recipe = """
        merge_method: task_arithmetic
        base_model: base
        models: [{model: one, parameters: {weight: 0.5}}, {model: two, parameters: {weight: 0.25}}]
    """
    out = merged(tmp_path, recipe)
    truth = by_hand(list(models.values()), lambda one, two, base: base + 0.5 * (one - base) + 0.25 * (two - base))
    model = loaded(type(models["one"]), out)
    state = model.state_dict()
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"
    assert all(state[key].dtype == torch.bfloat16 and torch.equal(state[key], value) for key, value in truth.items())
    assert apart(architecture.answer(model), architecture.answer(with_state(models["base"], truth))) == 0


def test_a_merge_of_float32_models_may_be_stored_in_bfloat16(tmp_path: Path) -> None:
    models = two_of(LLAMA)
    saved(tmp_path, models)
    state = loaded(type(models["one"]), merged(tmp_path, HALVES[:-1] + ", dtype: bfloat16}")).state_dict()
    for name, value in by_hand(list(models.values()), half).items():
        assert state[name].dtype == torch.bfloat16
        assert_close(state[name].float(), value, rtol=2**-8, atol=1e-7)


def test_positions_that_older_versions_saved_as_integers_are_kept(tmp_path: Path) -> None:
    models = two_of(CLIP)
    saved(tmp_path, models)
    key, numbers = "text_model.embeddings.position_ids", torch.arange(16)[None]
    for name in models:
        path = tmp_path / name / "model.safetensors"
        save_file(load_file(path) | {key: numbers}, path, {"format": "pt"})
    out = merged(tmp_path, HALVES)
    kept = load_file(out / "model.safetensors")
    assert kept[key].dtype == torch.int64 and torch.equal(kept[key], numbers) and kept["logit_scale"].shape == ()
    same_tensors(loaded(type(models["one"]), out), by_hand(list(models.values()), half))


def test_integers_that_differ_are_refused_or_chosen(tmp_path: Path) -> None:
    models = two_of(CLIP)
    saved(tmp_path, models)
    key = "text_model.embeddings.position_ids"
    for name, first in (("one", 0), ("two", 1)):
        path = tmp_path / name / "model.safetensors"
        save_file(load_file(path) | {key: torch.arange(first, first + 16)[None]}, path, {"format": "pt"})
    with pytest.raises(IntegersDiffer, match=key):
        merged(tmp_path, HALVES)
    assert not (tmp_path / "out").exists()
    out = merged(tmp_path, HALVES[:-1] + ", integers: first}")
    assert load_file(out / "model.safetensors")[key][0, 0] == 0


@pytest.mark.parametrize("name", ["gpt2", "t5", "bert"])
def test_a_torch_file_that_spells_out_what_is_shared_beside_a_safetensors_file_that_does_not(tmp_path: Path, name: str) -> None:
    architecture = BY_NAME[name]
    models = two_of(architecture)
    as_torch_file(tmp_path / "one", models["one"])
    saved(tmp_path, {"two": models["two"]})
    out = merged(tmp_path, HALVES)
    same_tensors(loaded(type(models["one"]), out), by_hand(list(models.values()), half))
