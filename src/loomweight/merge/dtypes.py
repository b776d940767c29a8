"""Names of dtypes in recipes."""

import torch

from ..errors import unknown
from .marks import Place

_NAMES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float8_e4m3fn": torch.float8_e4m3fn,
    "float8_e5m2": torch.float8_e5m2,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp32": torch.float32,
}


def dtype_of(name: str, place: Place) -> torch.dtype:
    """The floating dtype of a name, with or without `torch.` before it.

    >>> dtype_of("torch.bfloat16", Place("", 1))
    torch.bfloat16
    """
    short = name.removeprefix("torch.")
    if short not in _NAMES:
        place.refuse(f"{unknown('dtype', name, _NAMES)}.")
    return _NAMES[short]
