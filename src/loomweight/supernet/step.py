"""A training step: which subnets run on a batch, and what their gradients add up to."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np
from torch import Tensor

from ..errors import BadParameter, NonFinite
from ..search.randomness import numbers_of
from ..weights.axes.find import arguments
from .elastic import Elastic, Values
from .sampler import Sampler

#: (outputs of the model, targets) -> mean loss
Loss = Callable[[Any, Any], Tensor]


@dataclass(kw_only=True, eq=False)
class Step(ABC):
    """One batch: subnets are chosen, run forward and backward, and their gradients add up. The optimizer is left to the loop.

        optimizer.zero_grad(); loss = step(net, inputs, targets); optimizer.step()

    Args:
        loss: (outputs, targets) -> mean loss.
        sampler: which subnets.
        seed: of the random numbers, which are the step's own and part of its state.
        total: the number of steps of the whole training. Only where something depends on how much of it is done.

    Raises:
        BadParameter: `total` is missing, or would have no effect.
    """

    loss: Loss
    sampler: Sampler
    seed: int = 0
    total: int | None = None
    count: int = field(default=0, init=False)
    numbers: np.random.Generator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.numbers = numbers_of(self.seed)
        if self.uses_done and (self.total is None or self.total < 1):
            raise BadParameter(f"{self._label} depends on how much of the training is done; give `total`, its number of steps, found {self.total}.")
        if self.total is not None and not self.uses_done:
            raise BadParameter(f"total={self.total} would have no effect: nothing in {self._label} depends on how much of the training is done.")

    @property
    def uses_done(self) -> bool:
        """Whether anything depends on how much of the training is done."""
        return self.sampler.uses_done

    @property
    def done(self) -> float:
        """The share of the training that is done, from 0 to 1; 0 where the step was not told how long it is."""
        return 0.0 if self.total is None else min(1.0, self.count / self.total)

    def __call__(self, net: Elastic, inputs: Any, targets: Any) -> float:
        """Forward and backward of each subnet on a batch; the mean of their losses.

        Args:
            net: in training mode. The subnet that is chosen before is chosen again after.
            inputs: a tensor, a tuple of inputs, or a dict of keyword arguments.
            targets: what the loss takes.

        Raises:
            NonFinite: a loss is NaN or infinite; that subnet's backward pass has not run.
        """
        with net.selected(net.active):
            losses = self.run(net, inputs, targets)
        self.count += 1
        return sum(losses) / len(losses)

    @abstractmethod
    def run(self, net: Elastic, inputs: Any, targets: Any) -> list[float]:
        """The losses of the subnets whose gradients were added."""

    def draw(self, net: Elastic) -> Values:
        """The sampler's next configuration."""
        return self.sampler.draw(net, self.numbers, self.done)

    def state_dict(self) -> dict[str, Any]:
        """Steps done, random numbers, what the sampler has learned: plain data that JSON can hold."""
        return {"count": self.count, "random": self.numbers.bit_generator.state, "sampler": self.sampler.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on exactly from there.

        Raises:
            BadParameter: something is missing, or the state is of another sampler.
        """
        if missing := [key for key in ("count", "random", "sampler") if key not in state]:
            raise BadParameter(f"the state of {self._label} lacks {', '.join(missing)}; give what `state_dict()` of such a step returned.")
        self.sampler.load_state_dict(state["sampler"])
        self.count = int(state["count"])
        self.numbers.bit_generator.state = state["random"]

    @property
    def _label(self) -> str:
        return f"{type(self).__name__} with {type(self.sampler).__name__}"


def outputs_of(net: Elastic, values: Values, inputs: Any) -> Any:
    """Choose a subnet and run it."""
    args, kwargs = arguments(inputs, None)
    return net.select(values)(*args, **kwargs)


def backward(loss: Tensor, values: Values, scale: float = 1.0) -> float:
    """Add a subnet's gradients, times `scale`; its loss.

    Raises:
        NonFinite: before any gradient is touched.
    """
    value = float(loss.detach())
    if not isfinite(value):
        chosen = ", ".join(f"{name} = {option}" for name, option in values.items())
        raise NonFinite(f"the loss of the subnet {{{chosen}}} is {value}; its gradients were not added. Lower the learning rate, or look at this batch.")
    (loss if scale == 1.0 else loss * scale).backward()
    return value
