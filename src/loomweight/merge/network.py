"""A model as users name it, for commands and recipes: `module:factory`, or a Transformers config; with inputs to run it on."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.random import fork_rng

from ..errors import BadParameter, LoomweightError, MissingExtra, UnknownName
from ..weights.json_file import read_json
from ..weights.locate import locate
from .named import called, named


@dataclass(frozen=True)
class Network:
    """A model, and inputs to trace it on."""

    model: nn.Module
    example: Any
    name: str


def network(name: str, example: str | None = None) -> Network:
    """The model that a user names, of random weights; its shapes and operations count.

    Args:
        name: `module:factory`, a function without arguments that gives a module (modules of the working folder count); or a folder
            with a Transformers `config.json`, or that file: the class is the one under `architectures`. Of what such a class puts
            out, logits alone count where there are any: other outputs (the encoder's states of T5) would keep units in their places.
        example: `module:function` that gives the inputs: a tensor, a tuple of inputs, or a dict of keyword arguments. For a config
            they are made from it.

    Raises:
        UnknownName: no such module, function, file or class.
        BadParameter: neither of the two; a factory that fails or gives no module; no example inputs.
        BrokenFile: the config is not JSON.
        MissingExtra: Transformers is not installed.
    """
    config = None if ":" in name and not Path(name).exists() else config_file(name)
    given = None if example is None else called(named(example, "an example"), example)
    if config:
        model, inputs = _of_config(config, given)
        return Network(model, inputs, name)
    model = named(name, "a model")
    model = model if isinstance(model, nn.Module) else called(model, name)
    if not isinstance(model, nn.Module):
        raise BadParameter(f"{name}() gives a {type(model).__name__}, not a torch.nn.Module.")
    if given is None:
        raise BadParameter(f"{name} needs example inputs to be traced on; name a function that gives them: --example module:function.")
    return Network(model, given, name)


def config_file(name: str) -> Path:
    """The Transformers config that a path names: the file, or `config.json` in a folder.

    Raises:
        UnknownName: there is no such path, or no config in the folder.
        BadParameter: it is a file of another kind.
    """
    try:
        found = locate(name)
    except UnknownName as error:
        raise UnknownName(f"{error} A model is named module:factory, or by the folder of a Transformers config.") from error
    if found.is_file():
        if found.suffix != ".json":
            raise BadParameter(f"{name} is no config: a model is named module:factory, or by a folder with a config.json, or by that file.")
        return found
    if not (found / "config.json").exists():
        raise UnknownName(f"{name} holds no config.json; a model is named module:factory, or by the folder of a Transformers config.")
    return found / "config.json"


def _of_config(path: Path, given: Any) -> tuple[nn.Module, Any]:
    told = read_json(path)
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra("a model from a config needs Transformers; install the extra: pip install 'loomweight[hf]'") from error
    kind = (told.get("architectures") or [None])[0]
    if kind is None or not hasattr(transformers, str(kind)):
        said = f"Transformers {transformers.__version__} has no class {kind!r}" if kind else "it names no class under `architectures`"
        raise UnknownName(f"{path}: {said}; name a function that makes the model: module:factory.")
    try:
        config = transformers.AutoConfig.for_model(**told) if "model_type" in told else getattr(transformers, kind).config_class(**told)
        config.use_cache = False
        config._experts_implementation = "eager"  # runs in float64 too, which `verify` computes in
        with fork_rng(devices=[]):  # the caller's random numbers stay
            model = getattr(transformers, kind)(config).eval()
    except LoomweightError:
        raise
    except Exception as error:
        words = (str(error).strip() or "no message").splitlines()[0]
        raise BadParameter(f"{path}: no model can be made from it: {type(error).__name__}: {words}") from error
    model.register_forward_hook(what_counts)
    return model, inputs_for(model, path) if given is None else given


def what_counts(model: nn.Module, inputs: Any, output: Any) -> Any:
    """A hook for models of Transformers: of several outputs the logits, or else all that are tensors (no caches)."""
    if not isinstance(output, Mapping):
        return output
    found = {key: value for key, value in output.items() if isinstance(value, Tensor)}
    return {key: value for key, value in found.items() if key.startswith("logits")} or found


def inputs_for(model: nn.Module, path: Path) -> dict[str, Tensor]:
    """Words, pictures and sounds of the sizes that a Transformers config tells, as far as the model takes them.

    Raises:
        BadParameter: it takes none of them.
    """
    config: Any = model.config
    taken = inspect.signature(model.forward).parameters
    found = {}
    if words := getattr(_part(config, "text_config"), "vocab_size", None):
        found["input_ids"] = _ids(words, 8)
        if getattr(config, "is_encoder_decoder", False):
            found["decoder_input_ids"] = _ids(words, 5)
    vision = _part(config, "vision_config")
    if side := getattr(vision, "image_size", None):
        high, wide = side if isinstance(side, tuple | list) else (side, side)
        found["pixel_values"] = _ramp(1, getattr(vision, "num_channels", 3), high, wide)
    if bins := getattr(config, "num_mel_bins", None):
        found["input_features"] = _ramp(1, bins, 2 * getattr(config, "max_source_positions", 1500))
    given = {key: value for key, value in found.items() if key in taken}
    if not given:
        raise BadParameter(f"{path}: what {type(model).__name__} takes ({', '.join(taken)}) cannot be made from its config; give --example module:function.")
    return given


def _part(config: Any, name: str) -> Any:
    """The part of a config that tells of words or pictures, where they are apart."""
    return getattr(config, name, None) or config


def _ids(words: int, length: int) -> Tensor:
    """Different word numbers; the last is the largest of all, where CLIP looks for the end of a text."""
    ids = (torch.arange(length) * 7 + 3) % words
    ids[-1] = words - 1
    return ids[None]


def _ramp(*shape: int) -> Tensor:
    """Values from -1 to 1 that repeat with no period of a picture."""
    return torch.linspace(0, 97, prod(shape)).sin().reshape(shape)
