"""Config, copied files and model card of a merged folder."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from loomweight.errors import RecipeError
from loomweight.merge.run import run
from loomweight.merge.side_files import without_local_paths
from loomweight.merge.stages import STAGES


def model(folder: Path, layers: int = 4, **claims: object) -> Path:
    """A folder with a config, a tokenizer file and tensors whose values tell the layer."""
    folder.mkdir(parents=True)
    tensors = {f"model.layers.{i}.mlp.up_proj.weight": torch.full((8, 4), float(i)) for i in range(layers)}
    save_file(tensors | {"model.embed_tokens.weight": torch.ones(10, 4), "model.norm.weight": torch.ones(4)}, folder / "model.safetensors")
    sizes = {"hidden_size": 4, "vocab_size": 10, "intermediate_size": 8, "num_hidden_layers": layers}
    config = {"_name_or_path": "/home/someone/secret", "torch_dtype": "float32", **sizes, "layer_types": [f"t{i}" for i in range(layers)], **claims}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pool": 1}')
    (folder / "optimizer.pt").write_bytes(b"large")
    return folder


def merged(tmp_path: Path, text: str) -> Path:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text.replace("TMP", str(tmp_path)))
    run(recipe, tmp_path / "out", stages=STAGES)
    return tmp_path / "out"


LINEAR = "{merge_method: linear, models: [{model: TMP/a}, {model: TMP/b}], parameters: {weight: 1}, dtype: bfloat16}"


def test_config_and_tokenizer_come_along_and_nothing_else(tmp_path) -> None:
    model(tmp_path / "a")
    model(tmp_path / "b")
    out = merged(tmp_path, LINEAR)
    held = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert held == {"config.json", "tokenizer.json", "1_Pooling/config.json", "README.md", "loomweight.yaml", "model.safetensors"}
    config = json.loads((out / "config.json").read_text())
    assert config["torch_dtype"] == "bfloat16" and config["num_hidden_layers"] == 4 and "_name_or_path" not in config


def test_no_local_path_is_published(tmp_path) -> None:
    model(tmp_path / "a")
    model(tmp_path / "b")
    out = merged(tmp_path, LINEAR)
    for name in ("README.md", "loomweight.yaml", "config.json"):
        assert str(tmp_path) not in (out / name).read_text()
    card = (out / "README.md").read_text()
    assert "merge_method: linear" in card and "Seed 0" in card and "| a | " in card


def test_depth_and_lists_of_layers_follow_the_slices(tmp_path) -> None:
    model(tmp_path / "a")
    text = "{merge_method: passthrough, slices: [{sources: [{model: TMP/a, layer_range: [0, 3]}]}, {sources: [{model: TMP/a, layer_range: [1, 4]}]}]}"
    config = json.loads((merged(tmp_path, text) / "config.json").read_text())
    assert config["num_hidden_layers"] == 6
    assert config["layer_types"] == ["t0", "t1", "t2", "t1", "t2", "t3"]


@pytest.mark.parametrize(
    ("claim", "words"),
    [({"hidden_size": 5}, "hidden_size = 5"), ({"num_hidden_layers": 7}, "num_hidden_layers = 7"), ({"vocab_size": 11}, "vocab_size = 11")],
)
def test_a_config_that_lies_is_refused_before_any_data_moves(tmp_path, claim, words) -> None:
    model(tmp_path / "a", **claim)
    model(tmp_path / "b")
    with pytest.raises(RecipeError, match=f"contradicts itself: config.json says {words}"):
        merged(tmp_path, LINEAR)
    assert not (tmp_path / "out").exists()


def test_paths_are_cut_and_hub_names_are_not() -> None:
    text = "a: /home/me/models/base+/data/lora\nb: org/name\nc: [~/x/y, ./z]"
    assert without_local_paths(text) == "a: base+lora\nb: org/name\nc: [y, ./z]"


def test_plain_safetensors_need_no_config(tmp_path) -> None:
    for name in "ab":
        save_file({"w": torch.ones(3)}, tmp_path / f"{name}.safetensors")
    out = merged(tmp_path, LINEAR.replace("TMP/a", "TMP/a.safetensors").replace("TMP/b", "TMP/b.safetensors"))
    assert {path.name for path in out.iterdir()} == {"README.md", "loomweight.yaml", "model.safetensors"}
