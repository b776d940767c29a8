"""Settings of local training: plain, and the same for every method."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from ..errors import BadParameter


@dataclass(frozen=True)
class Local:
    """How a client trains.

    Args:
        epochs: how often it goes through its data.
        steps: steps instead of epochs; batches begin anew where the data ends.
        batch: examples a step. A last smaller batch is used too; a single example joins the batch before it, since BatchNorm cannot take one alone.
        optimizer: makes an optimizer of parameters; a fresh one for each task.
        loss: of (outputs, targets).
        schedule: round -> factor of the learning rate.
        shuffle: a new order each epoch, from the task's seed.

    Raises:
        BadParameter: a number that cannot be.

    >>> Local(batch=10).count(25)
    3
    """

    epochs: int = 1
    steps: int | None = None
    batch: int = 32
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] = field(default_factory=lambda: partial(torch.optim.SGD, lr=0.1))
    loss: Callable[[Any, Tensor], Tensor] = functional.cross_entropy
    schedule: Callable[[int], float] | None = None
    shuffle: bool = True

    def __post_init__(self) -> None:
        for name, value in (("epochs", self.epochs), ("batch", self.batch), ("steps", 0 if self.steps is None else self.steps)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise BadParameter(f"Local: {name} is a whole number, found {value!r}.")
        if self.epochs < 1 or self.batch < 1 or (self.steps is not None and self.steps < 0):
            raise BadParameter(f"Local: epochs and batch are at least 1 and steps is not negative, found {self.epochs}, {self.batch} and {self.steps}.")

    def count(self, examples: int, asked: int | None = None) -> int:
        """Steps that a client with so many examples makes, unless the server asked for some."""
        if asked is not None:
            return asked
        return self.steps if self.steps is not None else self.epochs * (ceil(examples / self.batch) - self._joins(examples))

    def cut(self, order: Tensor) -> tuple[Tensor, ...]:
        """The numbers of examples, batch by batch."""
        cut = order.split(self.batch)
        return (*cut[:-2], torch.cat(cut[-2:])) if self._joins(len(order)) else cut

    def _joins(self, examples: int) -> bool:
        return examples > self.batch > 1 == examples % self.batch

    def batches(self, data: Sequence[Tensor], steps: int, generator: torch.Generator) -> Iterator[tuple[Tensor, ...]]:
        """So many batches, epoch after epoch."""
        examples, made = len(data[0]), 0
        while made < steps and examples:
            order = torch.randperm(examples, generator=generator) if self.shuffle else torch.arange(examples)
            for chosen in self.cut(order):
                if made == steps:
                    return
                yield tuple(part[chosen] for part in data)
                made += 1
