"""Short ways to a recipe and to models that tests merge."""

import textwrap

import torch

from loomweight import Weights
from loomweight.merge import Draft, Plan, Recipe, plan


def recipe(text: str) -> Recipe:
    [found] = Draft.of(textwrap.dedent(text).lstrip("\n"), "r.yaml").recipes()
    return found


def planned(text: str, inputs: dict[str, Weights]) -> Plan:
    return plan(recipe(text), inputs)


def stack(value: float, layers: int = 3, prefix: str = "model.layers", **more: torch.Tensor) -> Weights:
    """A model whose every entry says where it comes from: value, + the layer's number / 10."""
    tensors = {f"{prefix}.{i}.{rest}": torch.full((2,), float(value + i / 10)) for i in range(layers) for rest in ("attn.w", "mlp.w")}
    ends = {
        "model.embed_tokens.weight": torch.full((3,), float(value)),
        "model.norm.weight": torch.full((2,), float(value)),
        "lm_head.weight": torch.full((3,), float(value)),
    }
    return Weights.of({**tensors, **ends, **more}, label=f"m{value:g}")


def firsts(weights: Weights) -> dict[str, float]:
    """The first entry of every tensor."""
    return {name: round(float(value.reshape(-1)[0]), 4) for name, value in weights.items()}
