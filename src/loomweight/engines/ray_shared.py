"""Values in Ray's object store: tensors lie there once, and every worker of a machine sees the same memory."""

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .shared import Shared


@dataclass(frozen=True)
class InStore(Shared):
    """A reference to a value in the store.

    Args:
        held: the reference, in a list so that Ray hands it on instead of resolving it.
    """

    held: list[Any]

    def get(self) -> Any:
        """The value; its tensors are views of the store and must not be written to."""
        import ray

        return _torch(ray.get(self.held[0]))


@dataclass(frozen=True)
class _Array:
    bits: Any
    dtype: torch.dtype
    shape: tuple[int, ...]


def stored(value: Any) -> InStore:
    """Put a value into the store of the Ray that runs."""
    import ray

    return InStore([ray.put(_numpy(value))])


def _numpy(value: Any) -> Any:
    if type(value) is Tensor:
        return _Array(value.detach().contiguous().reshape(-1).view(torch.uint8).numpy(), value.dtype, tuple(value.shape))
    if type(value) is dict:
        return {key: _numpy(inner) for key, inner in value.items()}
    return type(value)(_numpy(inner) for inner in value) if type(value) in (list, tuple) else value


def _torch(value: Any) -> Any:
    if isinstance(value, _Array):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the array cannot be written to
            return torch.from_numpy(value.bits).view(value.dtype).reshape(value.shape)
    if type(value) is dict:
        return {key: _torch(inner) for key, inner in value.items()}
    return type(value)(_torch(inner) for inner in value) if type(value) in (list, tuple) else value
