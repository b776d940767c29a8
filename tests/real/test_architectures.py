"""Merged folders of eleven real architectures load with Transformers and answer as the state dicts merged by hand do."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from torch.testing import assert_close

import loomweight as lw

from .architectures import ALL, Architecture
from .merging import apart, by_hand, loaded, merged, same_tensors, saved, with_state

every = pytest.mark.parametrize("architecture", ALL, ids=repr)

LINEAR = """
    merge_method: linear
    models:
      - {model: base, parameters: {weight: 1}}
      - {model: one, parameters: {weight: 2}}
      - {model: two, parameters: {weight: 3}}
"""
TASK = """
    merge_method: task_arithmetic
    base_model: base
    models:
      - {model: one, parameters: {weight: 0.6}}
      - {model: two, parameters: {weight: 0.9}}
    parameters: {lambda: 0.8}
"""


TIES = """
    merge_method: ties
    base_model: base
    models:
      - {model: one, parameters: {weight: 0.6, density: 0.5}}
      - {model: two, parameters: {weight: 0.9, density: 0.25}}
    parameters: {lambda: 0.8, normalize: true}
"""


def linear(base: Tensor, one: Tensor, two: Tensor) -> Tensor:
    return (base + 2 * one + 3 * two) / 6


def task(base: Tensor, one: Tensor, two: Tensor) -> Tensor:
    return base + 0.8 * (0.6 * (one - base) + 0.9 * (two - base))


def ties(base: Tensor, one: Tensor, two: Tensor) -> Tensor:
    """Trim each difference to its largest entries, elect the sign of the weighted sum, average those that agree."""
    parts = [weight * trimmed(tuned - base, density) for tuned, weight, density in ((one, 0.6, 0.5), (two, 0.9, 0.25))]
    elected = torch.where(sum(parts) >= 0, 1.0, -1.0)
    agree = [part.sign() == elected for part in parts]
    total = sum(part * same for part, same in zip(parts, agree, strict=True))
    weights = sum(weight * same for weight, same in zip((0.6, 0.9), agree, strict=True))
    return base + 0.8 * total / weights.where(weights > 0, 1)


def trimmed(difference: Tensor, density: float) -> Tensor:
    """The largest int(density * n) entries by magnitude, which are all different here, and never none."""
    flat = difference.flatten()
    kept = flat.abs().argsort(descending=True)[: max(1, int(density * flat.numel()))]
    return torch.zeros_like(flat).scatter(0, kept, flat[kept]).reshape(difference.shape)


@every
@pytest.mark.parametrize(("recipe", "formula"), [(LINEAR, linear), (TASK, task), (TIES, ties)], ids=["linear", "task_arithmetic", "ties"])
def test_the_merge_answers_as_the_merge_by_hand(tmp_path: Path, architecture: Architecture, recipe: str, formula) -> None:
    models = {"base": architecture.base, "one": architecture.tuned(1), "two": architecture.tuned(2)}
    saved(tmp_path, models)
    truth = by_hand(list(models.values()), formula)
    model = loaded(type(models["base"]), merged(tmp_path, recipe))
    same_tensors(model, truth)
    expected = architecture.answer(with_state(architecture.build(), truth))
    assert_close(architecture.answer(model), expected, rtol=1e-5, atol=1e-5)
    assert all(apart(expected, architecture.answer(other)) > 1e-2 for other in models.values())


@every
def test_shared_tensors_are_stored_once_and_still_shared(tmp_path: Path, architecture: Architecture) -> None:
    saved(tmp_path, {"base": architecture.base, "one": architecture.tuned(1), "two": architecture.tuned(2)})
    out = merged(tmp_path, LINEAR)
    with safe_open(out / "model.safetensors", "pt") as file, safe_open(tmp_path / "base" / "model.safetensors", "pt") as before:
        assert set(file.keys()) == set(before.keys()) and not set(architecture.ties) & set(file.keys())
    model = loaded(type(architecture.base), out)
    for alias, owner in architecture.ties.items():
        assert model.get_parameter(alias) is model.get_parameter(owner)
    assert out.joinpath("model.safetensors").stat().st_size <= (tmp_path / "base" / "model.safetensors").stat().st_size * 1.01


@every
def test_a_module_and_what_transformers_makes_of_it_agree_on_what_is_shared(tmp_path: Path, architecture: Architecture) -> None:
    model = architecture.base
    assert dict(lw.load(model).ties) == dict(architecture.ties)
    folder = tmp_path / "saved"
    model.config.save_pretrained(folder)
    lw.save(lw.load(model), folder / "model.safetensors")
    again = loaded(type(model), folder)
    assert apart(architecture.answer(model), architecture.answer(again)) == 0
