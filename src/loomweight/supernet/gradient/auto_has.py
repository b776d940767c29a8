"""Architecture and hyperparameters together: a controller draws both, and is rewarded by what one update with them brings.

Paper: AutoHAS: Efficient Hyperparameter and Architecture Search (2020, https://arxiv.org/abs/2006.03656), algorithm 1.

No code of the authors was found to compare with.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import BadParameter
from ...search import Space
from ...weights.axes.find import arguments
from ..elastic import Elastic, Values
from ..step import Loss
from .descent import Batch, finite, gradients
from .state import copy_into, group, grouped

#: (tensors, their gradients or None, hyperparameters) -> nothing; changes the tensors in place
Update = Callable[[Sequence[Tensor], Sequence[Tensor | None], Mapping[str, Any]], None]


def sgd_update(tensors: Sequence[Tensor], found: Sequence[Tensor | None], hyper: Mapping[str, Any]) -> None:
    """tensor <- tensor - rate x (gradient + decay x tensor), rate and decay from the hyperparameters `lr` and, if there is one, `weight_decay`.

    Part of: auto_has.

    >>> weight = torch.ones(1)
    >>> sgd_update([weight], [torch.ones(1)], {"lr": 0.5, "weight_decay": 0.5})
    >>> weight.tolist()
    [0.25]
    """
    for tensor, gradient in zip(tensors, found, strict=True):
        if gradient is not None:
            tensor.sub_(hyper["lr"] * (gradient + hyper.get("weight_decay", 0.0) * tensor))


@dataclass(eq=False)
class AutoHas:
    """The controller has a logit for each option of each field of both spaces; REINFORCE raises the logits of what was rewarded above average.

    A step draws an architecture and hyperparameters, updates the subnet's weights with them, takes the reward on validation data, and
    puts the weights back; log p of the draw x (reward - moving average of rewards) teaches the controller. Then it draws again, and that
    update stays. Only the subnet's own entries are copied for a while.

    Args:
        net: the elastic model, in training mode.
        hyper: options of the hyperparameters, `Space({"lr": Ordered((0.01, 0.1, 1.0))})`.
        loss: (outputs, targets) -> mean training loss.
        reward: (the net with its subnet chosen and updated, validation batch) -> a number, higher is better.
        update: what one training step does with the hyperparameters.
        rate: of the controller's Adam.
        memory: how much of the moving average stays, a step.
        seed: of the draws, which are its own.

    Raises:
        BadParameter: a field without options to list, or of both spaces.
    """

    net: Elastic
    hyper: Space
    loss: Loss
    reward: Callable[[Elastic, Batch], float]
    update: Update = sgd_update
    rate: float = 0.05
    memory: float = 0.95
    seed: int = 0
    average: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if shared := set(self.net.space.names) & set(self.hyper.names):
            raise BadParameter(f"{sorted(shared)[0]!r} is a field of the model and a hyperparameter; give one of them another name.")
        self.options = {name: tuple(dimension.every()) for space in (self.net.space, self.hyper) for name, dimension in space.dimensions.items()}
        self.logits = nn.ParameterList([torch.zeros(len(several)) for several in self.options.values()])
        self.controller = torch.optim.Adam(self.logits.parameters(), self.rate)
        self.random = torch.Generator().manual_seed(self.seed)

    def step(self, train: Batch, valid: Batch) -> float:
        """One step of the controller, one of the weights; the reward."""
        chosen = self._draw()
        reward = self._rewarded(chosen, train, valid)
        self._learn(chosen, reward)
        architecture, hyper = self._split(self._draw())
        self.net.select(architecture)
        tensors, found = self._gradients(train)
        with torch.no_grad():
            self.update(tensors, found, hyper)
        return reward

    def values(self) -> tuple[Values, Values]:
        """The likeliest architecture and hyperparameters."""
        return self._split([int(logit.argmax()) for logit in self.logits])

    def chances(self) -> dict[str, list[float]]:
        """Field -> the probability of each option."""
        return {name: logit.detach().softmax(0).tolist() for name, logit in zip(self.options, self.logits, strict=True)}

    def state_dict(self) -> dict[str, Any]:
        """The controller, its optimizer and the random numbers; the net has a state of its own."""
        generator = self.random
        return {
            **grouped(logits=dict(zip(self.options, self.logits, strict=True)), chance={"generator": generator.get_state()}),
            "controller": self.controller.state_dict(),
            "average": self.average,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there.

        Raises:
            NamesDiffer, ShapesDiffer: the state is of other spaces.
        """
        generator = self.random
        copy_into(dict(zip(self.options, self.logits, strict=True)), group(state, "logits"), "logits")
        self.controller.load_state_dict(state["controller"])
        generator.set_state(group(state, "chance")["generator"])
        self.average = state["average"]

    def _draw(self) -> list[int]:
        return [int(torch.multinomial(logit.detach().softmax(0), 1, generator=self.random)) for logit in self.logits]

    def _split(self, chosen: Sequence[int]) -> tuple[Values, Values]:
        values = {name: several[i] for (name, several), i in zip(self.options.items(), chosen, strict=True)}
        return self.net.space.canonical({name: values[name] for name in self.net.space.names}), {name: values[name] for name in self.hyper.names}

    def _rewarded(self, chosen: Sequence[int], train: Batch, valid: Batch) -> float:
        """The reward after a temporary update."""
        architecture, hyper = self._split(chosen)
        self.net.select(architecture)
        tensors, found = self._gradients(train)
        with torch.no_grad():
            before = [tensor.clone() for tensor in tensors]
            try:
                self.update(tensors, found, hyper)
                return float(self.reward(self.net, valid))
            finally:
                for tensor, old in zip(tensors, before, strict=True):
                    tensor.copy_(old)

    def _gradients(self, train: Batch) -> tuple[list[Tensor], Sequence[Tensor | None]]:
        tensors: list[Tensor] = [tensor for tensor in self.net.model.parameters() if tensor.requires_grad]
        args, kwargs = arguments(train[0], None)
        return tensors, gradients(finite(self.loss(self.net(*args, **kwargs), train[1])), tensors)

    def _learn(self, chosen: Sequence[int], reward: float) -> None:
        if reward != reward or reward in (float("inf"), float("-inf")):
            raise BadParameter(f"the reward is {reward}; return a number that says so when an update went wrong, as accuracy 0 does.")
        self.average = reward if self.average is None else self.memory * self.average + (1 - self.memory) * reward
        likely = torch.stack([logit.log_softmax(0)[i] for logit, i in zip(self.logits, chosen, strict=True)]).sum()
        self.controller.zero_grad()
        (-(reward - self.average) * likely).backward()
        self.controller.step()
