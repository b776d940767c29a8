"""Merging on an accelerator gives what the processor gives, up to the last bits of float32."""

from pathlib import Path

import pytest
import torch

from loomweight import Weights
from loomweight.merge import Draft, plan
from loomweight.merge.pick import device_of, on
from tests.parity.models import MODELS, tensors
from tests.parity.recipes import RECIPES


def test_the_processors_own_set_is_not_wrapped() -> None:
    weights = Weights.of({"w": torch.ones(2)})
    assert on(weights, device_of("cpu")) is weights


@pytest.mark.gpu
@pytest.mark.parametrize("name", RECIPES)
def test_an_accelerator_gives_the_same(name: str, tmp_path: Path) -> None:
    [recipe] = Draft.of(RECIPES[name]).recipes()
    planned = plan(recipe, {model: Weights.of(tensors(model), label=model) for model in MODELS})
    here, there = planned.weights(), planned.weights(device=device_of("cuda"))
    for tensor in here:
        torch.testing.assert_close(there[tensor].cpu(), here[tensor], rtol=1e-5, atol=1e-5)
