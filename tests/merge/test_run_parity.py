"""The same YAML means the same: results against mergekit's own, frozen with its version (tests/parity/freeze.py)."""

import json
from pathlib import Path

import pytest
import torch

from loomweight import Weights
from loomweight.merge import Draft, plan
from tests.parity.models import MODELS, fingerprint, tensors
from tests.parity.recipes import RECIPES

FROZEN = json.loads((Path(__file__).parents[1] / "parity" / "frozen.json").read_text())
INPUTS = {model: Weights.of(tensors(model), label=model) for model in MODELS}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_gives_what_mergekit_gives(name: str) -> None:
    [recipe] = Draft.of(RECIPES[name]).recipes()
    merged = plan(recipe, INPUTS).weights()
    expected = FROZEN["results"][name]
    assert set(merged.names) == set(expected)
    for tensor, numbers in expected.items():
        found = torch.tensor(fingerprint(merged[tensor]), dtype=torch.float64)
        assert torch.allclose(found, torch.tensor(numbers, dtype=torch.float64), rtol=2e-5, atol=2e-5), (tensor, found, numbers)


def test_that_parity_can_fail() -> None:
    numbers = fingerprint(tensors("one")["model.norm.weight"])
    assert numbers != pytest.approx(fingerprint(tensors("two")["model.norm.weight"]), rel=2e-5, abs=2e-5)


def test_every_recipe_is_frozen() -> None:
    assert set(FROZEN["results"]) == set(RECIPES) and FROZEN["made_with"]["mergekit"] == "0.1.5"
