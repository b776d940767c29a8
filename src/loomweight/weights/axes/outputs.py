"""The tensors in whatever a model returns: in tuples, dicts, data classes and objects that only hold values."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from ...errors import BadParameter


def tensors_in(made: Any) -> list[Tensor]:
    """Every tensor in an output, in order, each once.

    Raises:
        BadParameter: there is none; nothing could then be said of what the model computes.

    >>> import torch
    >>> one, two = torch.ones(1), torch.ones(2)
    >>> [len(tensor) for tensor in tensors_in({"loss": None, "parts": [two, {"last": one}]})]
    [2, 1]
    """
    if found := list(_within(made, set())):
        return found
    raise BadParameter(f"no tensor was found in the model's output, a {type(made).__name__}; say what of it counts: outputs=lambda out: ...")


def _within(made: Any, seen: set[int]) -> Iterator[Tensor]:
    for leaf in tree_flatten(made)[0]:
        if id(leaf) in seen:
            continue
        seen.add(id(leaf))
        if isinstance(leaf, Tensor):
            yield leaf
        elif leaf is not None and not isinstance(leaf, type | nn.Module):
            yield from _within(_fields(leaf), seen)


def _fields(leaf: Any) -> list[Any]:
    """What an object that is no tuple, list or dict of PyTorch's holds."""
    if isinstance(leaf, Mapping):
        return list(leaf.values())
    if dataclasses.is_dataclass(leaf):
        return [getattr(leaf, field.name) for field in dataclasses.fields(leaf)]
    return list(leaf) if isinstance(leaf, set | frozenset) else list(getattr(leaf, "__dict__", {}).values())
