"""Tables for common families of Hugging Face checkpoints, with the sizes that `config.json` says."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ....errors import BadParameter, UnknownName
from ...config import config_of
from ...load import load
from ...weights import Weights
from ..fit import table_for
from ..table import Axes
from .bert import bert, roberta
from .config import Config
from .distilbert import distilbert
from .gpt2 import gpt2
from .llama import gemma, llama
from .t5 import t5
from .vit import vit


class Family(NamedTuple):
    """How a family is written: the prefix of its tensors behind a head, the key of its width, its table."""

    prefix: str
    width: tuple[str, ...]
    table: Callable[[Config], str]


_HIDDEN = ("hidden_size",)
#: model_type -> family
FAMILIES = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3"), Family("model.", _HIDDEN, llama)),
    **dict.fromkeys(("gemma", "gemma2", "gemma3_text"), Family("model.", _HIDDEN, gemma)),
    "gpt2": Family("transformer.", ("n_embd", "hidden_size"), gpt2),
    "bert": Family("bert.", _HIDDEN, bert),
    **dict.fromkeys(("roberta", "xlm-roberta"), Family("roberta.", _HIDDEN, roberta)),
    "distilbert": Family("distilbert.", ("dim", "hidden_size"), distilbert),
    "vit": Family("vit.", _HIDDEN, vit),
    **dict.fromkeys(("t5", "mt5"), Family("", ("d_model", "hidden_size"), t5)),
}


def family_table(config: Mapping[str, Any], names: Iterable[str] = ()) -> str | None:
    """The axes table of a Hugging Face family as text, or None where its `model_type` has none.

    Where the model has no head, its hidden states are its output, and the units of the residual stream stay where they are.

    Args:
        config: what `config.json` says.
        names: of the checkpoint's tensors, which tell whether they are stored under a prefix; by default as behind a head.

    Raises:
        BadParameter: the config lacks a size, or sizes do not go together.

    >>> sizes = {"hidden_size": 8, "num_attention_heads": 4, "num_key_value_heads": 2}
    >>> print(family_table({"model_type": "llama", "architectures": ["LlamaForCausalLM"], **sizes}).splitlines()[4])
    model.layers.*.self_attn.q_proj.weight : (model.layers.*.self_attn.heads model.layers.*.self_attn.groups 2) <- residual
    """
    family = FAMILIES.get(str(config.get("model_type", "")))
    if family is None:
        return None
    asked = Config(config, tuple(names), family.prefix)
    text = family.table(asked).replace("@", family.prefix if asked.prefixed else "")
    return re.sub(r"\bresidual\b", str(asked.number(*family.width)), text) if asked.bare else text


def axes_of(weights: Weights | str | Path, config: Mapping[str, Any] | None = None) -> Axes:
    """The axes of a checkpoint of a common family, by its `config.json` alone: no model is built, no data read.

    Args:
        weights: a folder with its config; or weights, and `config` besides.
        config: what `config.json` says; by default that of the folder.

    Raises:
        UnknownName: there is no config, or no table for its family; the message says what there is.
        NamesDiffer, ShapesDiffer: the checkpoint is not what its config says.
        BadParameter: the config lacks a size.

    >>> import torch
    >>> sizes = {"hidden_size": 4, "num_attention_heads": 1}
    >>> tensors = {"model.embed_tokens.weight": torch.zeros(9, 4), "model.norm.weight": torch.zeros(4), "lm_head.weight": torch.zeros(9, 4)}
    >>> print(axes_of(Weights.of(tensors), {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **sizes}))
    # found by the table for llama
    residual = 4
    model.embed_tokens.weight : 9 residual
    model.norm.weight : residual
    lm_head.weight : 9 <- residual
    """
    found = weights if isinstance(weights, Weights) else load(weights)
    if config is None:
        config = config_of(weights) if not isinstance(weights, Weights) else None
    if config is None:
        raise UnknownName(f"{found.label or 'the checkpoint'} has no config.json that tells its family; {_INSTEAD}.")
    try:
        text = family_table(config, found.names)
    except BadParameter as error:
        raise BadParameter(f"{found.label or 'the checkpoint'}: {error}") from error
    if text is None:
        kind = config.get("model_type")
        raise UnknownName(f"there is no axes table for model_type {kind!r}; there are {', '.join(sorted(FAMILIES))}; {_INSTEAD}.")
    return table_for(text, found, f"the table for {config.get('model_type')}")


_INSTEAD = "give the model (module:factory, or a Transformers config), or a table of your own"
