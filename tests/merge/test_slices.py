"""Layers cut, stacked and numbered anew, on any naming of layers."""

import pytest
import torch

from loomweight import Weights
from loomweight.errors import NamesDiffer, RecipeError
from loomweight.merge.claims import claimed
from loomweight.merge.layout import Layout, at_input, spot
from loomweight.merge.recipe import Module

from .yaml_of import firsts, planned, recipe, stack

STACK = """
    merge_method: passthrough
    slices:
      - sources: [{model: a, layer_range: [0, 2]}]
      - sources: [{model: b, layer_range: [1, 3]}]
      - sources: [{model: a, layer_range: [1, 2]}]
"""


def test_layers_are_numbered_through_and_the_ends_come_from_the_first_and_last_slice() -> None:
    found = firsts(planned(STACK, {"a": stack(1), "b": stack(2)}).weights())
    assert [found[f"model.layers.{i}.mlp.w"] for i in range(5)] == [1.0, 1.1, 2.1, 2.2, 1.1]
    assert found["model.embed_tokens.weight"] == 1 and found["model.norm.weight"] == 1 and found["lm_head.weight"] == 1
    other = STACK.replace("{model: a, layer_range: [1, 2]}", "{model: b, layer_range: [1, 2]}")
    found = firsts(planned(other, {"a": stack(1), "b": stack(2)}).weights())
    assert found["model.embed_tokens.weight"] == 1 and found["model.norm.weight"] == 2 and found["lm_head.weight"] == 2


def test_the_result_lists_its_names_in_natural_order() -> None:
    names = planned(STACK, {"a": stack(1), "b": stack(2)}).weights().names
    assert names[0] == "lm_head.weight" and names[2:4] == ("model.layers.0.attn.w", "model.layers.0.mlp.w") and len(names) == 13


def test_depth_starts_anew_in_every_slice() -> None:
    text = """
        merge_method: linear
        slices:
          - sources: [{model: a, layer_range: [0, 3]}, {model: b, layer_range: [0, 3], parameters: {weight: [0, 1]}}]
          - sources: [{model: a, layer_range: [0, 2]}, {model: b, layer_range: [1, 3], parameters: {weight: [0, 1]}}]
          - sources: [{model: a, layer_range: [0, 1]}, {model: b, layer_range: [0, 1], parameters: {weight: [0, 1]}}]
        parameters: {weight: 1}
    """
    plan = planned(text, {"a": stack(0), "b": stack(8)})
    weights = {name: group.numbers.each["weight"][1] for group in plan.groups for name in group.names}
    assert [weights[f"model.layers.{i}.attn.w"] for i in range(6)] == [0, 0.5, 1, 0, 1, 1]
    assert weights["model.embed_tokens.weight"] == 0 and weights["lm_head.weight"] == 0


def test_numbers_of_a_model_see_its_own_names_and_numbers_of_the_merge_the_results() -> None:
    text = """
        merge_method: task_arithmetic
        base_model: a
        slices:
          - sources:
              - {model: a, layer_range: [0, 1]}
              - {model: b, layer_range: [2, 3], parameters: {weight: [{filter: layers.2., value: 0.25}, {value: 1}]}}
        parameters: {lambda: [{filter: layers.0., value: 2}, {value: 1}]}
    """
    found = firsts(planned(text, {"a": stack(0), "b": stack(1)}).weights())
    assert found["model.layers.0.mlp.w"] == pytest.approx(2 * 0.25 * 1.2) and found["lm_head.weight"] == 1


@pytest.mark.parametrize(
    ("prefix", "name"),
    [("transformer.h", "transformer.h.11.attn.c_attn.weight"), ("bert.encoder.layer", "bert.encoder.layer.3.output.dense.bias"), ("h", "h.0.ln_1.weight")],
)
def test_where_layers_are(prefix: str, name: str) -> None:
    found = spot(name)
    assert found is not None and found.stack == prefix and found.at(found.layer) == name


def test_a_plain_safetensors_file_without_a_config_is_sliced_too() -> None:
    text = "{merge_method: passthrough, slices: [{sources: [{model: a, layer_range: [0, 1]}]}, {sources: [{model: a, layer_range: [0, 1]}]}]}"
    found = planned(text, {"a": stack(1, prefix="blocks")}).weights()
    assert [name for name in found.names if name.startswith("blocks")] == ["blocks.0.attn.w", "blocks.0.mlp.w", "blocks.1.attn.w", "blocks.1.mlp.w"]


def test_experts_are_no_layers_and_gaps_are_no_stacks() -> None:
    names = [f"model.layers.{i}.experts.{j}.w" for i in range(2) for j in range(4)] + ["visual.merger.mlp.0.w", "visual.merger.mlp.2.w"]
    layout = Layout.of(names)
    assert layout.stacks == {"model.layers": 2} and layout.loose == ("visual.merger.mlp.0.w", "visual.merger.mlp.2.w")


def test_of_several_stacks_the_one_called_layers_is_sliced_and_two_such_must_be_told_apart() -> None:
    assert Layout.of(["model.layers.0.w", "model.layers.1.w", "head.0.w", "head.1.w"]).main("a") == "model.layers"
    with pytest.raises(RecipeError, match=r"several stacks of layers: encoder.block \(2 layers\), decoder.block \(1 layers\); say which with modules"):
        Layout.of(["encoder.block.0.w", "encoder.block.1.w", "decoder.block.0.w"]).main("a")
    with pytest.raises(RecipeError, match="no tensor is numbered"):
        Layout.of(["w"]).main("a")


@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("transformer.wte.weight", True),
        ("transformer.ln_f.weight", False),
        ("bert.embeddings.LayerNorm.weight", True),
        ("bert.pooler.dense.weight", False),
        ("pre_classifier.weight", False),
        ("vision_model.pre_layrnorm.weight", True),
        ("model.encoder.conv1.weight", True),
        ("embed_out.weight", False),
        ("score.weight", False),
        ("visual.patch_embed.proj.weight", True),
        ("something.else", True),
    ],
)
def test_what_stands_before_the_layers_and_what_behind(name: str, before: bool) -> None:
    assert at_input(name) == before


def two_towers(value: float) -> Weights:
    value = float(value)
    tower = {f"{side}.block.{i}.w": torch.tensor([value + i / 10]) for side in ("encoder", "decoder") for i in range(3)}
    return Weights.of(
        {"shared.weight": torch.tensor([value]), **tower, "encoder.final_layer_norm.w": torch.tensor([value]), "lm_head.w": torch.tensor([value])}
    )


def test_modules_give_every_stack_slices_of_its_own() -> None:
    text = """
        merge_method: passthrough
        modules:
          decoder: {slices: [{sources: [{model: a, layer_range: [0, 1]}]}, {sources: [{model: b, layer_range: [0, 3]}]}]}
          encoder: {slices: [{sources: [{model: b, layer_range: [1, 3]}]}]}
          rest: {models: [{model: a}]}
    """
    found = firsts(planned(text, {"a": two_towers(1), "b": two_towers(2)}).weights())
    assert [found[f"decoder.block.{i}.w"] for i in range(4)] == [1, 2, 2.1, 2.2]
    assert [found[name] for name in ("encoder.block.0.w", "encoder.block.1.w", "encoder.final_layer_norm.w", "shared.weight", "lm_head.w")] == [
        2.1,
        2.2,
        2,
        1,
        1,
    ]


def test_every_stack_has_depths_of_its_own() -> None:
    text = "{merge_method: linear, models: [{model: a, parameters: {weight: [1, 0]}}, {model: b, parameters: {weight: [0, 1]}}]}"
    found = firsts(planned(text, {"a": two_towers(0.0), "b": two_towers(1.0)}).weights())
    assert [found[f"{side}.block.2.w"] for side in ("encoder", "decoder")] == [1.2, 1.2] and found["shared.weight"] == 0


def test_mergekits_words_for_vision_language_models() -> None:
    names = ["model.layers.0.w", "lm_head.w", "visual.blocks.0.w", "visual.patch_embed.w", "visual.merger.mlp.0.w"]
    none = Module((), {}, recipe(STACK).place, "models")
    found = claimed({"text_decoder": none, "vision_tower": none, "multi_modal_projector": none}, names)
    assert found == {
        "text_decoder": ("model.layers.0.w", "lm_head.w"),
        "vision_tower": ("visual.blocks.0.w", "visual.patch_embed.w"),
        "multi_modal_projector": ("visual.merger.mlp.0.w",),
    }


def test_a_tensor_of_no_module_is_an_error() -> None:
    text = "{merge_method: passthrough, modules: {encoder: {models: [{model: a}]}, decoder: {models: [{model: a}]}}}"
    with pytest.raises(RecipeError, match=r"'lm_head.w', 'shared.weight' belong to no module of this recipe; add a module for them, or `rest"):
        planned(text, {"a": two_towers(1)})
    with pytest.raises(RecipeError, match=r"no module named 'encodr'; nearest: 'encoder'"):
        planned(text.replace("encoder", "encodr"), {"a": two_towers(1)})


def test_layers_that_differ_in_names_are_refused_by_number_and_model() -> None:
    odd = {f"model.layers.{i}.{rest}": torch.zeros(2) for i, rest in ((0, "attn.w"), (1, "mlp.w"))}
    a, b = Weights.of(odd), Weights.of({**odd, "model.layers.0.bias": torch.zeros(1)})
    text = "{merge_method: linear, slices: [{sources: [{model: a, layer_range: [1, 2]}, {model: b, layer_range: [0, 1]}]}], parameters: {weight: 1}}"
    with pytest.raises(NamesDiffer, match=r"layer 1 of 'a' and layer 0 of 'b' hold different tensors: only in layer 1 of 'a': 'mlp.w'"):
        planned(text, {"a": a, "b": b})


def test_shared_tensors_stay_shared_when_layers_are_stacked() -> None:
    embedding = torch.full((3,), 5.0)
    tensors = {"model.embed_tokens.weight": embedding, "lm_head.weight": embedding, "model.layers.0.w": torch.ones(2)}
    text = "{merge_method: passthrough, slices: [{sources: [{model: a, layer_range: [0, 1]}]}, {sources: [{model: a, layer_range: [0, 1]}]}]}"
    plan = planned(text, {"a": Weights.of(tensors)})
    merged = plan.weights()
    assert dict(merged.ties) == {"lm_head.weight": "model.embed_tokens.weight"} and firsts(merged)["lm_head.weight"] == 5
