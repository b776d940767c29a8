"""The config of an exported Transformers model says the sizes that it has, as far as one number can say them."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from .compile import Compiled
from .sizes import size_of

#: what is told -> names that configs have for it
_NAMES = {
    "width": ("hidden_size", "n_embd", "d_model"),
    "inner": ("intermediate_size", "n_inner", "ffn_dim", "d_ff"),
    "heads": ("num_attention_heads", "n_head", "num_heads"),
    "groups": ("num_key_value_heads",),
    "head size": ("head_dim",),
    "experts": ("num_local_experts", "num_experts", "n_routed_experts"),
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
}
#: the last words of names of spaces that are no width of a layer
_INSIDE = ("heads", "queries", "dims", "values")


def told(plain: nn.Module, made: Compiled, values: Mapping[str, Any]) -> list[str]:
    """Set the numbers of a config, and renumber layers; what one number cannot say is returned, a sentence each.

    Args:
        plain: the exported module; one without a config stays as it is.
        made: what is known of the elastic model.
        values: the configuration.
    """
    adapters(plain)
    kept = made.kept
    config = _config(plain)
    if config is None:
        return []
    found = {role: set(sizes) for role, sizes in _sizes(made, values, config).items() if sizes}
    layers = {(field, tuple(used[values[field]])) for field, used in kept.values() if len(max(used.values(), key=len)) == _of(config, "layers")}
    problems = list(_set(config, found))
    for _, used in layers:
        setattr(config, _key(config, "layers"), len(used))
        if isinstance(types := getattr(config, "layer_types", None), list):
            config.layer_types = [types[int(place)] for place in used]
    _renumber(plain)
    return problems or list(_fit(config, found)) or list(_unlike(plain, config))


def _config(plain: nn.Module) -> Any:
    return next(
        (module.config for module in plain.modules() if hasattr(module, "save_pretrained") and hasattr(getattr(module, "config", None), "to_dict")), None
    )


def _key(config: Any, role: str) -> str:
    return next((name for name in _NAMES[role] if hasattr(config, name)), "")


def _of(config: Any, role: str) -> Any:
    return getattr(config, _key(config, role), None)


def _sizes(made: Compiled, values: Mapping[str, Any], config: Any) -> dict[str, list[int]]:
    """What is told -> its sizes in all layers that are used."""
    axes, spaces, kept = made.axes, made.spaces, made.kept
    found: dict[str, list[int]] = {role: [] for role in _NAMES}
    gone = [f"{listing}.{child}." for listing, (field, used) in kept.items() for child in max(used.values(), key=len) if child not in used[values[field]]]

    def size(name: str) -> int:
        return size_of(values[spaces[name]], axes.spaces[name].size) if name in spaces else axes.spaces[name].size

    varying = [name for name in axes.spaces if not all(use.tensor.startswith(tuple(gone)) for use in axes.uses(name))]
    for name in varying:
        last, whole = name.rpartition(".")[2], axes.spaces[name].size
        if last == "heads":
            inner = [child for child in axes.children(name) if child.endswith(".queries")]
            found["groups"].append(size(name))
            found["heads"].append(size(name) * (size(inner[0]) if inner else 1))
        elif last in ("dims", "values"):
            found["head size"].append(size(name))
        elif last not in _INSIDE and whole == _of(config, "width") and len(axes.uses(name)) == max(len(axes.uses(other)) for other in varying):
            found["width"].append(size(name))
        elif last not in _INSIDE and whole == (_of(config, "inner") or 4 * (_of(config, "width") or 0)):
            found["inner"].append(size(name))
    experts = [values[field] for field in values if field.startswith("experts ")]
    return found | {"experts": [count if isinstance(count, int) else round(count * (_of(config, "experts") or 0)) for count in experts]}


def _set(config: Any, found: Mapping[str, set[int]]) -> Iterator[str]:
    for role, sizes in found.items():
        key = _key(config, role)
        if key and len(sizes) == 1:
            setattr(config, key, next(iter(sizes)))
        elif key:
            yield f"{key} differs between layers ({', '.join(map(str, sorted(sizes)))})"


def _fit(config: Any, found: Mapping[str, set[int]]) -> Iterator[str]:
    """Configs without a head size have heads that fill the width."""
    if not _key(config, "head size") and len(found.get("heads", ())) == len(found.get("head size", ())) == 1:
        (heads,), (size,), width = found["heads"], found["head size"], _of(config, "width")
        if heads * size != width:
            yield f"{heads} heads of size {size} do not fill the width {width}"


def _unlike(plain: nn.Module, config: Any) -> Iterator[str]:
    """Tensors that a new model of this config would have in another shape; it is built without data."""
    if getattr(plain, "config", None) is not config or hasattr(plain, "peft_config"):
        return
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        fresh = type(plain)(config).state_dict()
    mine = plain.state_dict()
    wrong = [name for name in sorted({*mine, *fresh}) if name not in mine or name not in fresh or mine[name].shape != fresh[name].shape]
    for name in wrong[:1]:
        here, there = (tuple(state[name].shape) if name in state else "missing" for state in (mine, fresh))
        yield f"{name} is {here}, not {there}{f' ({len(wrong)} such tensors)' if len(wrong) > 1 else ''}"


def _renumber(plain: nn.Module) -> None:
    """Layers know their number, by which caches find their keys and values."""
    for listing in (module for module in plain.modules() if isinstance(module, nn.ModuleList)):
        for number, block in enumerate(listing):
            for module in block.modules():
                if isinstance(getattr(module, "layer_idx", None), int) and not getattr(module, "scale_attn_by_inverse_layer_idx", False):
                    module.layer_idx = number  # type: ignore[assignment]


def adapters(plain: nn.Module) -> None:
    """PEFT's configs say the ranks of adapters, layer by layer where they differ, and the scale that goes with each."""
    configs: Any = getattr(plain, "peft_config", None)
    for adapter, config in configs.items() if isinstance(configs, dict) else ():
        layers: dict[str, Any] = {
            name.removeprefix("base_model.model."): module
            for name, module in plain.named_modules()
            if isinstance(getattr(module, "r", None), dict) and adapter in module.r  # type: ignore[operator]
        }
        ranks = {name: layer.r[adapter] for name, layer in layers.items()}
        power = 0.5 if getattr(config, "use_rslora", False) else 1
        alphas = {name: layer.scaling[adapter] * ranks[name] ** power for name, layer in layers.items()}
        for name, layer in layers.items():
            layer.lora_alpha = {**layer.lora_alpha, adapter: alphas[name]}
        if len(set(ranks.values())) == 1:
            config.r, config.lora_alpha = next(iter(ranks.values())), next(iter(alphas.values()))
        elif ranks:
            config.rank_pattern, config.alpha_pattern = ranks, alphas
