"""`loss(weights)` of a model on data, as users name them for a command."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import BadParameter, LoomweightError
from ..evidence import NEXT_TOKEN, Task, batches
from ..evidence.task import IGNORED
from ..weights import Weights, from_module
from .coordinates import holding
from .named import batches_of, called, named
from .network import Network, network

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@dataclass(frozen=True)
class Judge:
    """The loss of weight sets: cross-entropy where labels are whole numbers, squared error where they are not; the mean over all labels.

    Language models of Transformers (`...ForCausalLM`, `...LMHeadModel`) are asked for the next token, and need no labels.

    Args:
        model: `module:factory`, or a Transformers config.
        data: `module:function`: batches (inputs, labels), or dicts as tokenizers make them. It is called once.
        renew: compute the statistics of batch normalizations anew on the data, for every set.
    """

    model: str
    data: str
    renew: bool = False

    @cached_property
    def module(self) -> nn.Module:
        """The model."""
        if ":" not in self.model or Path(self.model).exists():
            return network(self.model).model
        found = named(self.model, "a model")
        found = found if isinstance(found, nn.Module) else called(found, self.model)
        if not isinstance(found, nn.Module):
            raise BadParameter(f"{self.model}() gives a {type(found).__name__}, not a torch.nn.Module.")
        return found

    @cached_property
    def batches(self) -> list[Any]:
        """All batches."""
        return batches_of(called(named(self.data, "a data function"), self.data), self.data)

    @property
    def network(self) -> Network:
        """The model, with two examples of the data as its inputs."""
        few = batches.part(self.batches[0], 0, 2)
        if isinstance(few, Mapping):
            few = {key: value for key, value in few.items() if key not in batches.LABELS}
        elif isinstance(few, tuple):
            few = few[:-1] if len(few) > 1 else few
        return Network(self.module, few, self.model)

    @property
    def normalizes(self) -> bool:
        """Whether the model keeps statistics of batches."""
        return any(isinstance(module, _NORMS) and module.track_running_stats for module in self.module.modules())

    def order(self, names: Iterable[str]) -> list[str]:
        """Names in the model's order; names that it does not have go last."""
        place = {name: number for number, name in enumerate(from_module(self.module).names)}
        return sorted(names, key=lambda name: place.get(name, len(place)))

    def __call__(self, weights: Weights) -> float:
        """The mean over all labels but those that do not count (-100).

        Raises:
            NamesDiffer, ShapesDiffer: the set is none of this model.
            BadParameter: the model does not run on a batch, or its outputs do not fit the labels.
        """
        model = holding(self.module, weights).eval()
        if self.renew and self.normalizes:
            from ..align import renew_batch_norm

            model = holding(self.module, renew_batch_norm(model, self.batches, progress=False)).eval()
        with torch.no_grad():
            parts = [self._loss(model, batch, number) for number, batch in enumerate(self.batches)]
        return sum(total for total, _ in parts) / max(sum(count for _, count in parts), 1)

    def _loss(self, model: nn.Module, batch: Any, number: int) -> tuple[float, int]:
        """The sum over one batch, and over how many labels."""
        try:
            labels = self._task.targets(batch)
            if labels.is_floating_point():
                return _squared(_logits(model, batch), labels)
            scores = self._task.checked(model, batch)
            total = functional.cross_entropy(scores.flatten(0, -2), labels.flatten(), ignore_index=IGNORED, reduction="sum")
            return float(total), int((labels != IGNORED).sum())
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            words = (str(error).strip() or "no message").splitlines()[0]
            raise BadParameter(f"batch {number} of {self.data} cannot be judged by {self.model}: {type(error).__name__}: {words}") from error

    @cached_property
    def _task(self) -> Task:
        name = type(self.module).__name__
        return _NEXT if name.endswith(("ForCausalLM", "LMHeadModel")) else Task(_logits)


def _squared(scores: Tensor, labels: Tensor) -> tuple[float, int]:
    if scores.shape != labels.shape:
        raise BadParameter(f"outputs of shape {tuple(scores.shape)} do not fit labels of shape {tuple(labels.shape)}.")
    return float(functional.mse_loss(scores, labels, reduction="sum")), labels.numel()


def _logits(model: nn.Module, batch: Any) -> Any:
    """The output for a batch, or the logits among several."""
    output = batches.forward(batch, model)
    return output["logits"] if isinstance(output, Mapping) and "logits" in output else getattr(output, "logits", output)


def _logits_before(model: nn.Module, batch: Any) -> Any:
    """Of all places but the last, which has no next token."""
    return _logits(model, batch)[:, :-1]


_NEXT = Task(_logits_before, NEXT_TOKEN.targets)


def evaluator(name: str) -> Callable[[Weights], float]:
    """The loss that `module:function` names; what goes wrong in it becomes one message.

    Raises:
        UnknownName: no such module or function.
        BadParameter: it is no function, raises, or gives no number.
    """
    function: Any = named(name, "an evaluator")
    if not callable(function):
        raise BadParameter(f"{name} is a {type(function).__name__}, not a function of weights.")

    def loss(weights: Weights) -> float:
        try:
            found: Any = function(weights)
        except LoomweightError:
            raise
        except Exception as error:
            words = (str(error).strip() or "no message").splitlines()[0]
            raise BadParameter(f"{name}(weights) ended with {type(error).__name__}: {words}") from error
        try:
            return float(found)
        except (TypeError, ValueError) as error:
            raise BadParameter(f"{name} gives a {type(found).__name__}, not a number: a loss is one.") from error

    return loss
