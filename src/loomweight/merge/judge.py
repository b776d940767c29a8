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
from ..weights import Weights, from_module
from .coordinates import holding
from .named import called, named
from .network import Network, network

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@dataclass(frozen=True)
class Judge:
    """The loss of weight sets: mean cross-entropy where labels are whole numbers, mean squared error where they are not.

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
        found = called(named(self.data, "a data function"), self.data)
        if not isinstance(found, Iterable) or isinstance(found, Tensor | Mapping | nn.Module):
            raise BadParameter(f"{self.data}() gives a {type(found).__name__}, not batches that can be gone through: a list of (inputs, labels).")
        listed = list(found)
        if not listed:
            raise BadParameter(f"{self.data}() gives no batch.")
        return listed

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
        """The mean over all examples.

        Raises:
            NamesDiffer, ShapesDiffer: the set is none of this model.
            BadParameter: the model does not run on a batch, or its outputs do not fit the labels.
        """
        model = holding(self.module, weights).eval()
        if self.renew and self.normalizes:
            from ..align import renew_batch_norm

            model = holding(self.module, renew_batch_norm(model, self.batches, progress=False)).eval()
        total, count = 0.0, 0
        with torch.no_grad():
            for number, batch in enumerate(self.batches):
                size = batches.size(batch)
                total, count = total + size * self._loss(model, batch, number), count + size
        return total / count

    def _loss(self, model: nn.Module, batch: Any, number: int) -> float:
        """The mean over one batch."""
        try:
            if self._task is not NEXT_TOKEN and batches.targets(batch).is_floating_point():
                return _squared(batches.forward(batch, _Scores(model)), batches.targets(batch))
            return float(self._task.loss(_Scores(model), batch))
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            words = (str(error).strip() or "no message").splitlines()[0]
            raise BadParameter(f"batch {number} of {self.data} cannot be judged by {self.model}: {type(error).__name__}: {words}") from error

    @cached_property
    def _task(self) -> Task:
        name = type(self.module).__name__
        return NEXT_TOKEN if name.endswith(("ForCausalLM", "LMHeadModel")) else Task()


class _Scores(nn.Module):
    """A model that puts out its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The output, or its logits."""
        return _logits(self.model(*args, **kwargs))


def _squared(scores: Tensor, labels: Tensor) -> float:
    if scores.shape != labels.shape:
        raise BadParameter(f"outputs of shape {tuple(scores.shape)} do not fit labels of shape {tuple(labels.shape)}.")
    return float(functional.mse_loss(scores, labels))


def _logits(output: Any) -> Any:
    return output["logits"] if isinstance(output, Mapping) and "logits" in output else getattr(output, "logits", output)


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
