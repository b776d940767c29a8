"""What `loomweight align` and a recipe's `align` refuse: one message with the tensor's name and the line; nothing on disk changes."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import loomweight as lw
from loomweight.edits import Permute
from loomweight.weights.axes import axes_of, random_orders

from ..cli.run import run
from .scene import LINEAR, WEIGHTS, change, merged, recipe, refused, same, tensors

pytestmark = pytest.mark.usefixtures("here")
ALIGNED = LINEAR + "align: weights\n"

#: command -> what it says
REFUSED = {
    "align two --to one out --method weight": r"no way to align named 'weight'; nearest: 'weights'; all: activations, depth, ot, weights",
    "align two --to one out --method activations": r"activations are those of a model on data: give both",
    "align two --to one out --method activations --model one": r"activations are those of a model on data: give both",
    "align two --to one out --data a:b": r"the method weights looks at no data",
    "align two --to one out --method depth --data a:b": r"data needs a model to run on",
    "align two --to one out --moving-table nothing.axes": r"no such file or folder: 'nothing.axes'",
    "align two --to one out --method ot --data a:b": r"data needs a model to run on",
    "align nothing --to one out": r"no such file or folder: 'nothing'",
    "align two --to oen out": r"no such file or folder: 'oen'; near it: 'one'",
    "align two --to one three": r"three exists",
    "align two --to one one/out": r"one/out lies inside the input",
    "align two --to one two --overwrite": r"two is an input",
    "align two --to one out --table nothing.axes": r"no such file or folder: 'nothing.axes'",
    "align two --to one out --table one/model.safetensors": r"one/model\.safetensors: not a text file in UTF-8",
    "align two --to one out --table one/config.json": r"two does not fit one/config\.json: the axes table says nothing of",
}


@pytest.mark.parametrize("command", REFUSED)
def test_a_command_that_cannot_be(command: str, capsys) -> None:
    refused(capsys, *command.split(), says=REFUSED[command])


def test_a_family_of_another_kind(capsys) -> None:
    found = {f"h.{i}": tensor for i, tensor in enumerate(tensors("two").values())}
    save_file(found, Path("two") / WEIGHTS)
    config = Path("two/config.json")
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "gpt2"}))
    refused(capsys, "align", "two", "--to", "one", "out", says=r"two and one are not of one family \(a gpt2 and a llama\).*only in the first: 'h\.0'")


def test_another_width(capsys) -> None:
    wide = {name: tensor.repeat(2, 1) if ".gate_" in name or ".up_" in name else tensor for name, tensor in tensors("two").items()}
    wide |= {name: torch.cat([tensor, tensor], 1) for name, tensor in wide.items() if ".down_" in name}
    save_file(wide, Path("two") / WEIGHTS)
    says = r"tensor 'model\.layers\.0\.mlp\.down_proj\.weight' has shape \(8, 20\) in two and \(8, 10\) in one; matching keeps widths: optimal transport"
    refused(capsys, "align", "two", "--to", "one", "out", says=says)
    assert run(capsys, "align", "two", "--to", "one", "out", "--method", "ot").code == 0
    assert tensors("out")["model.layers.0.mlp.down_proj.weight"].shape == (8, 10)


def test_another_depth(capsys) -> None:
    save_file({name: tensor for name, tensor in tensors("two").items() if ".layers.3." not in name}, Path("two") / WEIGHTS)
    refused(
        capsys,
        "align",
        "two",
        "--to",
        "one",
        "out",
        says=r"have different numbers of layers model\.layers\.\*: only in the second: 'model\.layers\.3\..*the method depth",
    )


def test_layers_of_another_kind(capsys) -> None:
    """Three layers cannot stand for four that lack a norm: which, and what can be done."""
    save_file({name: tensor for name, tensor in tensors("two").items() if ".layers.3." not in name}, Path("two") / WEIGHTS)
    save_file({name: tensor for name, tensor in tensors("one").items() if "input_layernorm" not in name}, Path("one") / WEIGHTS)
    says = (
        r"layers 'model\.layers\.0' to 'model\.layers\.2' of the moving network and 'model\.layers\.0' to 'model\.layers\.3' of the reference do not correspond"
        r": 3 layers cannot be matched to 4 in order, each to one of its kind\."
    )
    refused(capsys, "align", "two", "--to", "one", "out", "--method", "depth", says=says)


def test_another_family_of_another_depth(capsys) -> None:
    found = {name.replace("mlp", "feed"): tensor for name, tensor in tensors("two").items() if ".layers.3." not in name}
    save_file(found | {"extra.weight": torch.ones(3)}, Path("two") / WEIGHTS)
    Path("t.axes").write_text("*.weight : ...\nmodel.*.weight : ...\nmodel.layers.*.*.weight : ...\nmodel.layers.*.*.*.weight : ...\n")
    says = r"outside of the layers that differ the two networks hold different tensors: only in the first: 'extra\.weight'"
    refused(capsys, "align", "two", "--to", "one", "out", "--method", "depth", "--table", "t.axes", says=says)


@pytest.mark.parametrize("method", ["weights", "ot"])
def test_dead_and_repeated_units_are_no_mistake(method: str, capsys) -> None:
    """Units that are 0, and units that are equal, cannot be told apart: equal ones stay in order, and a shuffled copy comes back all the same."""
    layer, weights = "model.layers.1.mlp.", tensors("one")
    for name, tensor in weights.items():
        if name.startswith(layer):
            rows = tensor if tensor.shape[0] == 10 else tensor.T
            rows[3:5], rows[6] = 0, rows[2]
    save_file(weights, Path("one") / WEIGHTS, {"format": "pt"})
    save_file(dict(Permute.by(axes_of("one"), random_orders(axes_of("one")))(lw.load("one"))), Path("two") / WEIGHTS, {"format": "pt"})
    assert run(capsys, "align", "two", "--to", "one", "out", "--method", method).code == 0
    assert all(same(tensor, weights[name]) for name, tensor in tensors("out").items())
    assert run(capsys, "align", "one", "--to", "one", "still", "--method", method).code == 0
    assert all(torch.equal(tensor, weights[name]) for name, tensor in tensors("still").items())


def test_a_network_without_anything(capsys) -> None:
    """All units are dead: there is nothing to go by, and nothing moves."""
    save_file({name: torch.zeros_like(tensor) for name, tensor in tensors("two").items()}, Path("two") / WEIGHTS, {"format": "pt"})
    assert run(capsys, "align", "two", "--to", "one", "out").code == 0
    assert not any(tensor.any() for tensor in tensors("out").values())


def test_a_config_that_lies(capsys) -> None:
    for model in ("one", "two"):
        config = Path(model, "config.json")
        config.write_text(json.dumps(json.loads(config.read_text()) | {"num_key_value_heads": 1}))
    refused(
        capsys,
        "align",
        "two",
        "--to",
        "one",
        "out",
        says=r"two does not fit the axes table: line \d+ of the axes table says that tensor 'model\.layers\.0\.self_attn\.k_proj\.weight' has shape \(4, 8\)",
    )


def test_a_table_that_does_not_fit(capsys) -> None:
    Path("t.axes").write_text("model.* : ...\n")
    refused(capsys, "align", "two", "--to", "one", "out", "--table", "t.axes", says=r"the axes table says nothing of 'lm_head\.weight'")
    Path("t.axes").write_text(
        "hidden = 7\nlm_head.weight : _ <- hidden\nmodel.*.weight : ...\nmodel.layers.*.*.weight : ...\nmodel.layers.*.*.*.weight : ...\n"
    )
    refused(capsys, "align", "two", "--to", "one", "out", "--table", "t.axes", says=r"line 2 of the axes table says .*'lm_head\.weight' has shape \(12, 7\)")


def test_a_truncated_file(capsys) -> None:
    path = Path("two") / WEIGHTS
    path.write_bytes(path.read_bytes()[:-5])
    refused(capsys, "align", "two", "--to", "one", "out", says=r"two/model\.safetensors")


def test_a_number_that_is_none(capsys) -> None:
    change("two", lm_head__weight=torch.full((12, 8), float("nan")))
    refused(capsys, "align", "two", "--to", "one", "out", says=r"tensor 'lm_head\.weight' holds NaN or Inf")


#: the value of `align` -> what is said of it
VALUES = {
    "weight": r"line 5: no align named 'weight'; nearest: 'weights'",
    "{method: wieghts}": r"line 5: no method of align|nearest: 'weights'",
    "{methods: weights}": r"line 5: align: no key named 'methods'; nearest: 'method'",
    "[weights]": r"line 5: align must be a word, found a list",
    "activations": r"line 5: align: activations are those of a model on data",
    "{method: activations, model: one}": r"line 5: align: activations are those of a model on data",
    "{data: 'x:y'}": r"line 5: align: the method weights looks at no data",
    "{axes: nothing.axes}": r"line 5: align: no such file or folder: 'nothing\.axes'",
    "{model: 'surely_no_module:mlp'}": r"line 5: align: no module named 'surely_no_module'",
    "{model: three/model.safetensors}": r"line 5: align: three/model\.safetensors is no config",
    "{seed: -1}": r"line 5: the seed of align must be a whole number of at least 0",
}


@pytest.mark.parametrize("value", VALUES)
def test_a_recipe_whose_align_cannot_be(value: str, capsys) -> None:
    file = recipe(LINEAR + f"align: {value}\n")
    refused(capsys, "recipe", "explain", file, says=VALUES[value])
    refused(capsys, "merge", file, "out", says=VALUES[value])


def test_a_recipe_whose_models_do_not_correspond(capsys) -> None:
    change("two", lm_head__weight=torch.zeros(12, 4))
    says = r"line 5: align: tensor 'lm_head\.weight' has shape \(12, 4\) in two and \(12, 8\) in one"
    refused(capsys, "merge", recipe(ALIGNED), "out", says=says)


def test_models_without_a_family(capsys) -> None:
    for model in ("one", "two"):
        Path(model, "config.json").unlink()
    refused(capsys, "merge", recipe(ALIGNED), "out", says=r"line 5: align: two has no config\.json that tells its family; give the model")


def test_the_scene_is_right_where_nothing_is_wrong(capsys) -> None:
    weights = lw.load("one")
    shuffled = Permute.by(axes_of("one"), random_orders(axes_of("one")))(weights)
    save_file(dict(shuffled), Path("two") / WEIGHTS, {"format": "pt"})
    merged(capsys, ALIGNED)
    assert all(same(tensor, weights[name]) for name, tensor in load_file(Path("out") / WEIGHTS).items())
