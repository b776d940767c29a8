"""What a statistic over batches is: start, add, value on plain data, so that it can be stopped, looked at and continued."""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import NonFinite
from ..weights import Weights
from . import batches


@dataclass
class State:
    """Sums so far, by tensor name; how many examples and batches they hold; a digest of these batches."""

    sums: dict[str, Tensor]
    examples: int = 0
    batches: int = 0
    seen: str = ""


@dataclass(frozen=True)
class Fold(ABC):
    """A statistic of a model over batches. A frozen dataclass; the state is apart from it, and `add` may overwrite it."""

    model: nn.Module = field(repr=False)
    #: what the progress bar says
    words: ClassVar[str] = "collecting"

    @abstractmethod
    def start(self) -> State:
        """The state before the first batch."""

    @abstractmethod
    def add(self, state: State, batch: Any) -> State:
        """The state with the sums of one more batch, which lies on the model's device; `collect` counts it."""

    @abstractmethod
    def value(self, state: State) -> Weights:
        """The statistic, from the sums."""

    def key(self) -> str:
        """Digest of everything that the sums depend on but the data: the statistic, its options, the model's weights."""
        options = [(part.name, _told(getattr(self, part.name))) for part in fields(self) if part.name != "model"]
        words = hashlib.sha256(f"{type(self).__name__} {options}".encode())
        for name, tensor in self.model.state_dict().items():
            words.update(f"{name}{batches.digest(tensor, '')}".encode())
        return words.hexdigest()


def floating_parameters(model: nn.Module) -> dict[str, Tensor]:
    """The model's parameters of a floating dtype, each once, detached and sharing memory; shared ones under their first name."""
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.is_floating_point()}


def zeros(model: nn.Module) -> dict[str, Tensor]:
    """A sum for every parameter: float64 for float64 parameters, else float32."""
    return {
        name: torch.zeros_like(parameter, dtype=torch.float64 if parameter.dtype == torch.float64 else torch.float32)
        for name, parameter in floating_parameters(model).items()
    }


def as_weights(model: nn.Module, tensors: dict[str, Tensor], label: str) -> Weights:
    """A weight set with all the model's parameter names: names that share a parameter share its tensor."""
    first = {id(parameter): name for name, parameter in reversed(list(model.named_parameters()))}
    every = model.named_parameters(remove_duplicate=False)
    return Weights.of({name: tensors[first[id(parameter)]] for name, parameter in every if first[id(parameter)] in tensors}, label)


def refuse_nonfinite(tensors: dict[str, Tensor], what: str, batch: int) -> None:
    """Raise for the first tensor that holds NaN or Inf."""
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor.sum()) and not torch.isfinite(tensor).all():
            raise NonFinite(f"the {what} of {name!r} holds NaN or Inf in batch {batch}; look at that batch, at the loss, and at the model's dtype.")


def _told(value: object) -> str:
    """An option in words that are the same in another process."""
    if is_dataclass(value):
        return f"{type(value).__name__} {[_told(getattr(value, part.name)) for part in fields(value)]}"
    if callable(value):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__name__)}"
    return repr(value)
