"""Merge folders with the real runner, and merge state dicts by hand."""

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.testing import assert_close

from loomweight.merge.run import Options, run
from loomweight.merge.stages import STAGES

#: tensors, one of each model -> one, in float64
Formula = Callable[..., Tensor]
#: complaints of `from_pretrained`
FAULTS = ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")


def saved(folder: Path, models: Mapping[str, Any], shard_size: str = "5GB") -> None:
    """Each model as Transformers saves it, in a folder of its name."""
    for name, model in models.items():
        model.save_pretrained(folder / name, max_shard_size=shard_size)


def merged(folder: Path, recipe: str, options: Options | None = None) -> Path:
    """Carry out a recipe whose relative paths start in `folder`, with everything that `loomweight merge` does."""
    (folder / "recipe.yaml").write_text(textwrap.dedent(recipe))
    run(folder / "recipe.yaml", folder / "out", options or Options(threads=2, progress=False), STAGES)
    return folder / "out"


def loaded(kind: type, folder: Path) -> Any:
    """The model in the folder, of which `from_pretrained` must have nothing to complain."""
    model, info = kind.from_pretrained(folder, output_loading_info=True)  # type: ignore[attr-defined]
    assert not {fault: info[fault] for fault in FAULTS if info[fault]}
    return model


def by_hand(models: list[Any], formula: Formula) -> dict[str, Tensor]:
    """The formula over state dicts, tensor by tensor as they are stored, in float64 and rounded at the end."""
    states = [model.state_dict() for model in models]
    return {name: as_stored(name, formula)(*(state[name].double() for state in states)).to(first.dtype) for name, first in states[0].items()}


def as_stored(name: str, formula: Formula) -> Formula:
    """Transformers fuses a layer's experts, and each one's gate and up, when it loads; files hold them one by one."""
    if ".experts." not in name:
        return formula
    halves = 2 if "gate_up" in name else 1

    def fused(*tensors: Tensor) -> Tensor:
        experts = zip(*tensors, strict=True)
        return torch.stack([torch.cat([formula(*parts) for parts in zip(*(e.chunk(halves) for e in expert), strict=True)]) for expert in experts])

    return fused


def with_state(model: Any, state: Mapping[str, Tensor]) -> Any:
    """The model, its tensors replaced; none may be left over on either side."""
    model.load_state_dict(state, strict=True)
    return model


def same_tensors(model: Any, truth: Mapping[str, Tensor], size: float = 1e-7) -> None:
    """Equal but for a rounding or two of float32 at the given size of numbers."""
    state = model.state_dict()
    assert set(state) == set(truth)
    for name, value in truth.items():
        assert_close(state[name], value, rtol=3e-7, atol=size, msg=lambda m, name=name: f"{name}: {m}")


def apart(one: Tensor, other: Tensor) -> float:
    """The largest difference."""
    return float((one - other).abs().max()) if one.shape == other.shape else torch.inf
