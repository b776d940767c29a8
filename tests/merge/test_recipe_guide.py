"""docs/RECIPES.md: every block is a recipe that can be planned."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from loomweight.merge import Draft, in_order, plan
from loomweight.merge.mergekit_names import METHODS
from loomweight.merge.read import KEYS

from .yaml_of import stack

GUIDE = (Path(__file__).parents[2] / "docs" / "RECIPES.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)


@pytest.mark.parametrize("text", BLOCKS)
def test_a_block_is_planned(text: str) -> None:
    draft = Draft.of(text)
    values: dict[str, Any] = {path: mark.choice[0] if mark.choice else mark.high for path, mark in draft.searches.items()}
    old = {"embeddings.position_ids": torch.arange(4), "model.rotary_emb.inv_freq": torch.ones(2)} if "drop:" in text else {}
    made = {name: stack(value, **(old if name == "a" else {})) for value, name in enumerate(("base", "a", "b", "c", "d"))}
    for recipe in in_order(draft.recipes(values)):
        planned = plan(recipe, made)
        merged = planned.weights()
        assert all(merged[name].isfinite().all() for name in merged)
        made |= {recipe.name: planned.promised()} if recipe.name else {}


def test_every_key_and_every_method_of_mergekit_is_told() -> None:
    assert len(BLOCKS) > 5
    assert not [key for key in (*KEYS, *(method.name for method in METHODS)) if f"{key}" not in GUIDE]
