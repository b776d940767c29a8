"""Layers of real models stacked and cut: the config follows, the result loads and answers as a model put together by hand."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from .architectures import ALL, CLIP, LLAMA, T5, WHISPER, WORDS, Architecture, noisy, transformers
from .merging import apart, loaded, merged, saved, with_state

Depths = Callable[[dict[str, Any]], None]
BY_NAME = {architecture.name: architecture for architecture in ALL}


def restacked(state: dict[str, Tensor], stack: str, layers: list[int]) -> dict[str, Tensor]:
    """The state dict of a model whose layer i is layer `layers[i]` of this one."""
    numbered = re.compile(rf"{re.escape(stack)}\.(\d+)\.")
    found = {name: value for name, value in state.items() if not numbered.match(name)}
    for new, old in enumerate(layers):
        prefix = f"{stack}.{old}."
        found |= {f"{stack}.{new}.{name.removeprefix(prefix)}": value for name, value in state.items() if name.startswith(prefix)}
    return found


def built(model: Any, depths: Depths) -> Any:
    """A model of the same kind whose config was changed."""
    said = model.config.to_dict()
    said.pop("layer_types", None)  # an entry a layer, which Transformers fills in
    depths(said)
    return type(model)(type(model.config).from_dict(said))


def set_to(**values: int) -> Depths:
    return lambda config: config.update(values)


STACK = """
    merge_method: passthrough
    slices:
      - sources: [{model: base, layer_range: [0, 2]}]
      - sources: [{model: base, layer_range: [1, 3]}]
"""


@pytest.mark.parametrize(
    ("name", "stack", "key"),
    [
        ("llama", "model.layers", "num_hidden_layers"),
        ("gemma", "model.layers", "num_hidden_layers"),
        ("qwen2", "model.layers", "num_hidden_layers"),
        ("mixtral", "model.layers", "num_hidden_layers"),
        ("gpt2", "transformer.h", "n_layer"),
        ("bert", "bert.encoder.layer", "num_hidden_layers"),
        ("vit", "vit.layers", "num_hidden_layers"),
    ],
)
def test_layers_are_stacked(tmp_path: Path, name: str, stack: str, key: str) -> None:
    architecture = BY_NAME[name]
    base = architecture.base
    saved(tmp_path, {"base": base})
    out = merged(tmp_path, STACK)
    assert json.loads((out / "config.json").read_text())[key] == 4
    model = loaded(type(base), out)
    truth = with_state(built(base, set_to(**{key: 4})), restacked(base.state_dict(), stack, [0, 1, 1, 2]))
    assert apart(architecture.answer(model), architecture.answer(truth)) == 0
    assert apart(architecture.answer(model), architecture.answer(base)) > 1e-3


def test_layers_of_two_models_are_stacked(tmp_path: Path) -> None:
    base, one = LLAMA.base, LLAMA.tuned(1)
    saved(tmp_path, {"base": base, "one": one})
    out = merged(tmp_path, STACK.replace("{model: base, layer_range: [1, 3]}", "{model: one, layer_range: [1, 3]}"))
    state = {name: value for name, value in base.state_dict().items() if not name.startswith("model.layers.2.")}
    other = one.state_dict()
    for new, old in ((2, 1), (3, 2)):
        prefix = f"model.layers.{old}."
        state |= {name.replace(prefix, f"model.layers.{new}."): value for name, value in other.items() if name.startswith(prefix)}
    state |= {name: other[name] for name in ("model.norm.weight", "lm_head.weight")}
    truth = with_state(built(base, set_to(num_hidden_layers=4)), state)
    assert apart(LLAMA.answer(loaded(type(base), out)), LLAMA.answer(truth)) == 0


MODULES = """
    merge_method: passthrough
    modules:
      DEEP:
        slices:
          - sources: [{model: base, layer_range: [0, 2]}]
          - sources: [{model: base, layer_range: [1, 3]}]
      rest: {models: [{model: base}]}
"""


def deeper_text(config: dict[str, Any]) -> None:
    config["text_config"]["num_hidden_layers"] = 4


@pytest.mark.parametrize(
    ("architecture", "stack", "depths", "module"),
    [
        (T5, "encoder.block", set_to(num_layers=4), "encoder"),
        (T5, "encoder.block", set_to(num_layers=4), "encoder.block"),
        (CLIP, "text_model.encoder.layers", deeper_text, "text_model"),
        (WHISPER, "model.encoder.layers", set_to(encoder_layers=4), "model.encoder"),
        (WHISPER, "model.encoder.layers", set_to(encoder_layers=4), "encoder"),
    ],
    ids=["t5", "t5 by its blocks", "clip", "whisper", "whisper in one word"],
)
def test_one_of_two_stacks_is_deepened(tmp_path: Path, architecture: Architecture, stack: str, depths, module: str) -> None:
    base = architecture.base
    saved(tmp_path, {"base": base})
    out = merged(tmp_path, MODULES.replace("DEEP", module))
    model = loaded(type(base), out)
    truth = with_state(built(base, depths), restacked(base.state_dict(), stack, [0, 1, 1, 2]))
    assert apart(architecture.answer(model), architecture.answer(truth)) == 0
    assert apart(architecture.answer(model), architecture.answer(base)) > 1e-3


def test_both_stacks_of_a_t5_are_cut_while_two_models_are_merged(tmp_path: Path) -> None:
    base, one = T5.base, T5.tuned(1)
    saved(tmp_path, {"base": base, "one": one})
    recipe = """
        merge_method: linear
        modules:
          encoder: {slices: [{sources: [{model: base, layer_range: [0, 2]}, {model: one, layer_range: [0, 2]}]}]}
          decoder: {slices: [{sources: [{model: base, layer_range: [0, 1]}, {model: one, layer_range: [0, 1]}]}]}
          rest: {models: [{model: base}, {model: one}]}
        parameters: {weight: 0.5}
    """
    model = loaded(type(base), merged(tmp_path, recipe))
    half = {name: (value.double() + one.state_dict()[name].double()).div(2).float() for name, value in base.state_dict().items()}
    state = restacked(restacked(half, "encoder.block", [0, 1]), "decoder.block", [0])
    truth = with_state(built(base, set_to(num_layers=2, num_decoder_layers=1)), state)
    torch.testing.assert_close(T5.answer(model), T5.answer(truth), rtol=1e-5, atol=1e-5)


BIAS = "block.0.layer.0.SelfAttention.relative_attention_bias.weight"


@pytest.mark.parametrize(("ranges", "layers"), [([[1, 3]], [1, 2]), ([[1, 3], [0, 2]], [1, 2, 0, 1]), ([[2, 3], [2, 3]], [2, 2])], ids=str)
def test_a_t5_that_begins_with_another_layer_keeps_its_positions(tmp_path: Path, ranges: list[list[int]], layers: list[int]) -> None:
    """Block 0 holds the relative positions for all blocks; they stay in block 0 whichever block that becomes."""
    base = T5.base
    saved(tmp_path, {"base": base})
    slices = ", ".join(f"{{sources: [{{model: base, layer_range: {bounds}}}]}}" for bounds in ranges)
    out = merged(tmp_path, f"{{merge_method: passthrough, modules: {{encoder: {{slices: [{slices}]}}, rest: {{models: [{{model: base}}]}}}}}}")
    model = loaded(type(base), out)
    state = base.state_dict()
    expected = {name: value for name, value in restacked(state, "encoder.block", layers).items() if "relative_attention_bias" not in name}
    expected |= {f"{side}.{BIAS}": state[f"{side}.{BIAS}"] for side in ("encoder", "decoder")}
    truth = with_state(built(base, set_to(num_layers=len(layers))), expected)
    assert apart(T5.answer(model), T5.answer(truth)) == 0
    assert f"encoder.{BIAS} serves all layers of its stack and stays in layer 0: it is that of base." in (out / "README.md").read_text()


def test_an_encoder_as_deep_as_the_decoder_is_found_in_the_config(tmp_path: Path) -> None:
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_heads": 2, "num_layers": 3, "num_decoder_layers": 3}
    base = noisy(transformers.T5ForConditionalGeneration(transformers.T5Config(vocab_size=WORDS, **sizes)), 0, 0.05)
    saved(tmp_path, {"base": base})
    said = json.loads((merged(tmp_path, MODULES.replace("DEEP", "encoder")) / "config.json").read_text())
    assert (said["num_layers"], said["num_decoder_layers"]) == (4, 3)


@pytest.mark.parametrize(("module", "expected"), [("encoder", (4, 2, 4)), ("decoder", (3, 4, 3))])
def test_both_words_for_the_depth_of_a_whisper_follow(tmp_path: Path, module: str, expected: tuple[int, int, int]) -> None:
    """Transformers before 5 wrote `num_hidden_layers` besides, equal to the encoder's; the hub is full of such configs."""
    saved(tmp_path, {"base": WHISPER.base})
    config = tmp_path / "base" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_hidden_layers": 3}))
    recipe = MODULES if module == "encoder" else MODULES.replace("[1, 3]", "[0, 2]")
    said = json.loads((merged(tmp_path, recipe.replace("DEEP", module)) / "config.json").read_text())
    assert (said["encoder_layers"], said["decoder_layers"], said["num_hidden_layers"]) == expected
