"""An optimizer at the server that takes the pooled update for a gradient.

Paper: Adaptive Federated Optimization (2020, https://arxiv.org/abs/2003.00295), algorithm 1.
"""

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..plain import Plain, Reply, Tensors
from .aggregate import Aggregate, Book
from .pool import Pool

Maker = Callable[[Iterable[Tensor]], Optimizer]


@dataclass(frozen=True)
class ServerOptimizer(Aggregate):
    """w <- optimizer(w, gradient = -pooled update): any optimizer of torch, over any rule.

    With SGD of rate 1 it is the plain `Pool`. Its state is plain data, saved with the round.

    Args:
        optimizer: makes an optimizer of a list of tensors.
        pooled: how updates become one.

    >>> fedavgm = ServerOptimizer(partial(torch.optim.SGD, lr=1.0, momentum=0.9))
    """

    optimizer: Maker = field(default_factory=lambda: partial(torch.optim.SGD, lr=1.0))
    pooled: Pool = field(default_factory=Pool)

    @property
    def sums(self) -> bool:  # type: ignore[override]
        """As the pool's."""
        return self.pooled.sums

    def add(self, held: Plain, reply: Reply, weights: Tensors) -> None:
        """As the pool does."""
        self.pooled.add(held, reply, weights)

    def check(self, count: int, refused: int = 0) -> None:
        """As the pool does."""
        self.pooled.check(count, refused)

    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        """One step of the optimizer."""
        change = self.pooled.change(held, book)
        if not change:
            return dict(weights), state
        floating = sorted(name for name, tensor in weights.items() if tensor.is_floating_point())
        moved = {name: weights[name].clone().requires_grad_() for name in floating}
        optimizer = self.optimizer(list(moved.values()))
        if state:
            optimizer.load_state_dict(restored(state, optimizer))
        for name, step in change.items():
            moved[name].grad = -(self.pooled.rate * step).to(moved[name].dtype)
        optimizer.step()
        return {**weights, **{name: tensor.detach() for name, tensor in moved.items()}}, plain(optimizer)


def plain(optimizer: Optimizer) -> Plain:
    """The state of each tensor of an optimizer, as plain data."""
    return {"state": {str(key): dict(value) for key, value in optimizer.state_dict()["state"].items()}}


def restored(state: Plain, optimizer: Optimizer) -> dict[str, Any]:
    """What `load_state_dict` takes, with the optimizer's own options; copies, since a step of the optimizer writes into what it was given."""
    states = {int(key): {name: deepcopy(value) for name, value in kept.items()} for key, kept in state["state"].items()}
    return {"state": states, "param_groups": optimizer.state_dict()["param_groups"]}
