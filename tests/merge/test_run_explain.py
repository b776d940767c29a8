"""What is printed before any data is read."""

import pytest
import torch

from loomweight.merge import explain
from loomweight.merge.explain import brief, collapsed, size

from .test_plan import unread
from .yaml_of import planned, stack


def test_every_tensor_number_model_dtype_and_byte_is_told() -> None:
    text = """
        merge_method: task_arithmetic
        base_model: a
        dtype: bfloat16
        models:
          - {model: b, parameters: {weight: [{filter: mlp, value: 0.25}, {value: 0.5}]}}
        parameters: {density: 0.3}
    """
    told = explain(planned(text, {"a": unread(dict(stack(0).spec)), "b": unread(dict(stack(1).spec))}))
    assert "task_arithmetic of b, a" in told
    assert "Around(base, rule=Mean(weights=(0.25,), normalize=False), edits=(), scale=1.0)\n  from b, base a" in told
    assert "  model.layers.{0-2}.mlp.w  3 x [2] bfloat16, 12 bytes" in told and "  lm_head.weight  [3] bfloat16, 6 bytes" in told
    assert "inputs: 160 bytes" in told and "output: 40 bytes on disk" in told and "9 tensors; floating tensors are stored as bfloat16" in told
    assert "note: r.yaml, line 6: density has no effect: task_arithmetic keeps every difference whole" in told


def test_layers_that_move_are_told() -> None:
    text = "{merge_method: passthrough, slices: [{sources: [{model: a, layer_range: [0, 1]}]}, {sources: [{model: a, layer_range: [0, 3]}]}]}"
    told = explain(planned(text, {"a": stack(0)}))
    assert "a: model.layers.{0-2}.attn.w, model.layers.{0-2}.mlp.w becomes model.layers.{1-3}.attn.w, model.layers.{1-3}.mlp.w" in told


def test_integers_and_shared_tensors_are_told() -> None:
    shared = torch.ones(2)
    told = explain(planned("{merge_method: passthrough, models: [{model: a}]}", {"a": stack(0, x=shared, y=shared, n=torch.tensor(3))}))
    assert "12 tensors, 1 of them shared with others" in told and "  n  [] int64, 8 bytes" in told


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (["h.0.e.0.w", "h.0.e.1.w", "h.1.e.0.w", "h.1.e.1.w"], "h.{0-1}.e.{0-1}.w"),
        (["h.3.w"], "h.3.w"),
        (["h.1.w", "h.10.w", "h.2.w"], "h.{1-2,10}.w"),
    ],
)
def test_names_as_patterns(names: list[str], pattern: str) -> None:
    assert collapsed(names) == pattern


def test_sizes_and_rules_for_people() -> None:
    assert [size(n) for n in (1, 12_345, 250_000_000, 16_000_000_000)] == ["1 bytes", "12.3 kB", "250 MB", "16 GB"]
    assert brief("X(base=Weights(a, 2 tensors), f=1, weights=None)") == "X(base, f=1)"
