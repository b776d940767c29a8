"""The reference model's `config.json`, made true for the merged weights."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ..errors import RecipeError
from ..evaluate.config_claims import broken_claims
from ..weights import Weights
from ..weights.config import config_of
from .layout import Layout, serves_all, spot
from .plan import Plan
from .vocabulary_of import united
from .vocabulary_tensors import embedding

_DEPTHS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers", "encoder_layers", "decoder_layers", "depth")
_PRIVATE = ("_name_or_path", "transformers_version_of_base")

Config = dict[str, Any]


def config_of_result(plan: Plan, folder: Path) -> Config | None:
    """The config of the result, or None where the reference has none.

    Depth follows the slices, with every list that has an entry a layer; the stored dtype and the vocabulary size follow the
    tensors; the path that the reference was loaded from is left out.
    """
    config = config_of(folder)
    if config is None:
        return None
    config = {key: value for key, value in copy.deepcopy(config).items() if key not in _PRIVATE}
    before, after = Layout.of(plan.inputs[plan.recipe.reference].names).stacks, Layout.of(plan.names).stacks
    for stack, depth in after.items():
        if stack in before and before[stack] != depth:
            _deepen(config, stack, before[stack], depth, _sources(plan, stack, depth))
    _set_dtype(config, plan.headers)
    _set_vocabulary(config, plan)
    return config


def honest(plan: Plan) -> None:
    """A check of a plan: the reference's config must not contradict the reference's own tensors.

    Raises:
        RecipeError: it does; the message says which statement and which tensor.
    """
    from .side_files import reference_folder

    folder = reference_folder(plan)
    config = config_of(folder) if folder else None
    reference = plan.recipe.reference
    if config and reference in plan.inputs and united(plan.recipe) is None and (broken := broken_claims(config, plan.inputs[reference])):
        raise RecipeError(
            f"{plan.recipe.place}: model {reference!r} contradicts itself: {'; '.join(broken)}. Mend its config.json, or take another base_model."
        )


def _places(config: Config, depth: int, path: tuple[str, ...] = ()) -> Iterator[tuple[Config, str, tuple[str, ...]]]:
    """Every (config, key, path) that says how many layers there are, and says `depth`."""
    for key, value in config.items():
        if key in _DEPTHS and value == depth:
            yield config, key, path
        elif isinstance(value, dict):
            yield from _places(value, depth, (*path, key))


def _deepen(config: Config, stack: str, before: int, after: int, sources: list[int]) -> None:
    places = list(_places(config, before))
    if "encoder" in stack and len(places) > 1:  # T5 says num_layers of its encoder and num_decoder_layers of its decoder
        places = [place for place in places if "decoder" not in place[1]] or places
    for word, hint in (("decoder", "decoder"), ("encoder", "encoder"), ("vision", "vision"), ("text", "text"), ("language_model", "text")):
        fitting = [place for place in places if hint in place[1] or any(hint in part for part in place[2])]
        if word in stack and len(places) > 1 and fitting:
            places = fitting
    if len(places) != 1:
        found = ", ".join(".".join((*path, key)) for _, key, path in places) or "none"
        raise RecipeError(f"{stack!r} has {after} layers in the result and {before} in the reference; config.json must say so in one place, found {found}.")
    holder, key, _ = places[0]
    holder[key] = after
    if key == "encoder_layers" and holder.get("num_hidden_layers") == before:  # a second word for it in Whisper, BART and their kin
        holder["num_hidden_layers"] = after
    for name, value in holder.items():
        if isinstance(value, list) and len(value) == before and name != "architectures":
            holder[name] = [value[i] for i in sources]


def _sources(plan: Plan, stack: str, depth: int) -> list[int]:
    """For each layer of the result, the number of the layer that it was made from, in the first model of its slice."""
    found = [0] * depth
    for group in plan.groups:
        for new, old in group.names.items():
            there, here = spot(new), spot(old[0])
            if there and here and there.stack == stack and not serves_all(new):
                found[there.layer] = here.layer
    return found


def _set_dtype(config: Config, headers: Any) -> None:
    counts: dict[torch.dtype, int] = {}
    for spec in headers.values():
        if spec.averages:
            counts[spec.dtype] = counts.get(spec.dtype, 0) + spec.numel
    if counts:
        stored = str(max(counts, key=lambda dtype: counts[dtype])).removeprefix("torch.")
        for key in [key for key in ("torch_dtype", "dtype") if key in config]:
            config[key] = stored


def _set_vocabulary(config: Config, plan: Plan) -> None:
    made = Weights(plan.headers, lambda name: lambda lo, hi: torch.empty(hi - lo))
    name = embedding(made)
    if united(plan.recipe) is not None and name is not None:
        _set_size(config, made.spec[name].shape[0])


def _set_size(config: Config, rows: int, before: int | None = None) -> None:
    """Say so wherever the config says how many rows the embedding of the text has."""
    before = config.get("vocab_size", before)
    if "vocab_size" in config:
        config["vocab_size"] = rows
    for key in [key for key, value in config.items() if isinstance(value, dict) and ("text" in key or value.get("vocab_size", -1) == before)]:
        _set_size(config[key], rows, before)
