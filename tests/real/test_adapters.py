"""A LoRA adapter that PEFT saved, named beside its base in a recipe."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from .architectures import ALL, LLAMA, Architecture
from .merging import apart, by_hand, loaded, merged, same_tensors, saved

peft = pytest.importorskip("peft", reason="PEFT is not installed")

# PEFT asks Transformers for what goes by another name since
pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")

BY_NAME = {architecture.name: architecture for architecture in ALL}


def adapted(architecture: Architecture, folder: Path, targets: list[str]) -> Any:
    """Save an adapter whose every factor counts, and give the model that PEFT makes of it."""
    torch.manual_seed(3)
    model = peft.get_peft_model(architecture.base, peft.LoraConfig(r=3, lora_alpha=6, target_modules=targets))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3)
    model.save_pretrained(folder)
    return model.merge_and_unload()


@pytest.mark.filterwarnings("ignore:.*fan_in_fan_out")
@pytest.mark.parametrize(("name", "targets"), [("llama", ["q_proj", "v_proj", "down_proj"]), ("gpt2", ["c_attn"]), ("t5", ["q", "wo"])])
def test_base_and_adapter_are_what_peft_merges(tmp_path: Path, name: str, targets: list[str]) -> None:
    architecture = BY_NAME[name]
    saved(tmp_path, {"base": architecture.base})
    truth = adapted(architecture, tmp_path / "lora", targets)
    out = merged(tmp_path, "{merge_method: passthrough, models: [{model: base+lora}]}")
    model = loaded(type(architecture.base), out)
    same_tensors(model, truth.state_dict(), size=3e-7)
    assert_close(architecture.answer(model), architecture.answer(truth), rtol=1e-5, atol=1e-5)
    assert apart(architecture.answer(model), architecture.answer(architecture.base)) > 1e-2


def test_an_adapter_is_merged_like_any_fine_tune(tmp_path: Path) -> None:
    base, one = LLAMA.base, LLAMA.tuned(1)
    saved(tmp_path, {"base": base, "one": one})
    adapter = adapted(LLAMA, tmp_path / "lora", ["q_proj", "up_proj"])
    recipe = """
        merge_method: task_arithmetic
        base_model: base
        models: [{model: base+lora, parameters: {weight: 0.5}}, {model: one, parameters: {weight: 0.5}}]
    """
    truth = by_hand([base, adapter, one], lambda b, a, o: b + 0.5 * (a - b) + 0.5 * (o - b))
    same_tensors(loaded(type(base), merged(tmp_path, recipe)), truth, size=3e-7)
