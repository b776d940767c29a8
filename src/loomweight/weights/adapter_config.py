"""`adapter_config.json` of a PEFT adapter: what the numbers beside its tensors mean."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite, sqrt
from pathlib import Path
from typing import Any

from ..errors import BrokenFile
from .json_file import read_json

NAME = "adapter_config.json"

#: Settings under which the merged weight is no function of the base's weight, A and B alone, each with the reason.
_FOREIGN = {
    "layer_replication": "it adapts a model with repeated layers",
    "target_parameters": "it adapts parameters inside fused expert modules",
    "trainable_token_indices": "it trains single rows of an embedding",
    "alora_invocation_tokens": "it acts on some tokens only",
    "use_qalora": "it pools the input",
    "use_bdlora": "its factors are block-diagonal",
    "kasa_config": "it has a third factor",
    "monteclora_config": "its factors are sampled",
    "velora_config": "it compresses the input",
    "arrow_config": "it routes between adapters",
}

#: Initialisations that first take something out of the base's weights.
_CHANGES_BASE = ("pissa", "corda", "olora", "lora_ga", "loftq")


@dataclass(frozen=True)
class AdapterConfig:
    """The settings of a LoRA adapter that its merged weights depend on.

    >>> AdapterConfig(rank=8, alpha=16, rank_pattern={"q_proj": 4}, rslora=True).scaling("layers.0.q_proj")
    8.0
    """

    rank: int
    alpha: float
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)
    rslora: bool = False
    dora: bool = False
    transposed: bool = False
    trained: tuple[str, ...] = ()

    def rank_of(self, module: str) -> int:
        """The rank of one module's factors."""
        return self.rank_pattern.get(_key(self.rank_pattern, module), self.rank)

    def scaling(self, module: str) -> float:
        """alpha / r, or alpha / sqrt(r) for rank-stabilised LoRA."""
        alpha, rank = self.alpha_pattern.get(_key(self.alpha_pattern, module), self.alpha), self.rank_of(module)
        return alpha / (sqrt(rank) if self.rslora else rank)


def read_config(path: Path) -> AdapterConfig:
    """Read and check an `adapter_config.json`.

    Raises:
        BrokenFile: not JSON, a value of the wrong kind, or an adapter whose merged weights are not known from its tensors and the base.
    """
    found = read_json(path)
    if found.get("peft_type") != "LORA":
        raise BrokenFile(f"{path}: peft_type is {found.get('peft_type')!r}; only LORA (with rsLoRA and DoRA) is understood: merge it with peft first.")
    for key, reason in _FOREIGN.items():
        if found.get(key):
            raise BrokenFile(f"{path}: {key} is set, and {reason}; merge it with peft first.")
    _check_start(path, found.get("init_lora_weights"))
    return AdapterConfig(
        rank=_whole(path, "r", found.get("r", 8)),
        alpha=_number(path, "lora_alpha", found.get("lora_alpha", 8)),
        rank_pattern={_pattern(path, key): _whole(path, key, value) for key, value in (found.get("rank_pattern") or {}).items()},
        alpha_pattern={_pattern(path, key): _number(path, key, value) for key, value in (found.get("alpha_pattern") or {}).items()},
        rslora=bool(found.get("use_rslora")),
        dora=bool(found.get("use_dora")),
        transposed=bool(found.get("fan_in_fan_out")),
        trained=tuple(map(str, found.get("modules_to_save") or ())),
    )


def _key(patterns: Mapping[str, Any], module: str) -> str:
    """PEFT's rule: the first pattern, a regular expression, that is the module's name or all of its last words."""
    return next((key for key in patterns if re.match(rf"(.*\.)?({key})$", module)), module)


def _check_start(path: Path, start: Any) -> None:
    if isinstance(start, str) and start.lower().startswith(_CHANGES_BASE):
        raise BrokenFile(
            f"{path}: init_lora_weights is {start!r}, which changes the base, so the delta is not known from the adapter; "
            "save it again with peft's path_initial_model_for_weight_conversion."
        )


def _whole(path: Path, key: str, value: Any) -> int:
    if type(value) is not int or value < 1:
        raise BrokenFile(f"{path}: the rank {key!r} must be a whole number from 1, found {value!r}.")
    return value


def _number(path: Path, key: str, value: Any) -> float:
    if type(value) not in (int, float) or not isfinite(value):
        raise BrokenFile(f"{path}: the alpha {key!r} must be a finite number, found {value!r}.")
    return value


def _pattern(path: Path, key: str) -> str:
    try:
        re.compile(key)
    except re.error as error:
        raise BrokenFile(f"{path}: the pattern {key!r} is no regular expression: {error}.") from error
    return key
