"""Delayed Nesterov: an asynchronous server whose momentum moves once in N arrivals.

Paper: Asynchronous Local-SGD Training for Language Modeling (2024, https://arxiv.org/abs/2401.09135), algorithm 3.

Code read: google-deepmind/asyncdiloco at commit e783a30, a toy notebook that has the asynchronous loop and not this method; utnslab/halos, opt.py, and
jdinalt/forgather, ml/diloco/server.py, two independent implementations of the algorithm, which agree with the paper's lines. We differ: NaN is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...errors import BadParameter, NamesDiffer, NonFinite, ShapesDiffer
from ...weights.names import difference
from ...weights.spec import cast
from .bucket import working


@dataclass(frozen=True)
class DelayedNesterov:
    """Arrival t with the pseudo-gradient g = theta_then - theta_i of one worker, Delta the sum since the momentum last moved:

        Delta <- Delta + g
        every N-th:  m <- beta m + Delta / N,  theta <- theta - lr ((1 - c N + c) beta m + g / N),  Delta <- 0
        else:        theta <- theta - lr (c beta m + g / N)

    So a momentum is never applied to stale gradients one after the other; over N arrivals the server takes one Nesterov step along their mean. With N = 1 it
    is torch's SGD with Nesterov momentum.

    Args:
        lr: of the server.
        momentum: beta, in [0, 1).
        every: N; the paper takes the number of workers.
        c: between 0 and 1 / N: how much of the momentum is spread over the arrivals in between; 0 in the paper's experiments.

    Raises:
        BadParameter: a number out of range.

    >>> server = DelayedNesterov(lr=1.0, momentum=0.5, every=2)
    >>> state = server.start({"w": torch.tensor([0.0])})
    >>> for g in (2.0, 4.0):  # 0 - 2 / 2, then m = 3 and -1 - (0.5 x 3 + 4 / 2)
    ...     state = server.push(state, {"w": torch.tensor([g])})
    >>> server.weights(state)
    {'w': tensor([-4.5000])}
    """

    lr: float = 0.7
    momentum: float = 0.9
    every: int = 4
    c: float = 0.0

    def __post_init__(self) -> None:
        if not (self.lr > 0 and 0 <= self.momentum < 1 and self.every >= 1 and 0 <= self.c <= 1 / self.every):
            raise BadParameter(f"lr > 0, 0 <= momentum < 1, every >= 1, 0 <= c <= 1 / every; found {self}.")

    def start(self, weights: Mapping[str, Tensor]) -> dict[str, Any]:
        """The server's state: plain tensors and numbers, to be saved and sent.

        Raises:
            BadParameter: a tensor is not floating; keep integers outside.
        """
        if whole := [name for name, tensor in weights.items() if not tensor.is_floating_point()]:
            raise BadParameter(f"the tensors {', '.join(whole)} hold integers, which have no gradient; keep them outside.")
        master = {name: tensor.detach().to(working(tensor.dtype), copy=True) for name, tensor in weights.items()}
        dtypes = {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in weights.items()}
        zeros = {name: torch.zeros_like(tensor) for name, tensor in master.items()}
        return {"weights": master, "momentum": zeros, "sum": {name: zero.clone() for name, zero in zeros.items()}, "arrivals": 0, "dtypes": dtypes}

    @torch.no_grad()
    def push(self, state: dict[str, Any], gradient: Mapping[str, Tensor]) -> dict[str, Any]:
        """One worker's theta_then - theta_i; the state is changed in place and returned. On an error it is as it was.

        Raises:
            NamesDiffer, ShapesDiffer: it does not fit the weights.
            NonFinite: it holds NaN or Inf.
        """
        _fits(state["weights"], gradient)
        turn = (state["arrivals"] + 1) % self.every == 0
        spread = (1 - self.c * self.every + self.c if turn else self.c) * self.momentum
        for name, weights in state["weights"].items():
            momentum, total, g = state["momentum"][name], state["sum"][name], gradient[name].to(weights.dtype)
            total.add_(g)
            if turn:
                momentum.mul_(self.momentum).add_(total, alpha=1 / self.every)
                total.zero_()
            weights.sub_(momentum, alpha=self.lr * spread).sub_(g, alpha=self.lr / self.every)
        state["arrivals"] += 1
        return state

    def weights(self, state: Mapping[str, Any]) -> dict[str, Tensor]:
        """The weights now, in their own dtypes: what the next worker begins with."""
        return {name: cast(tensor, getattr(torch, state["dtypes"][name]), name).clone() for name, tensor in state["weights"].items()}


def _fits(weights: Mapping[str, Tensor], gradient: Mapping[str, Tensor]) -> None:
    if lacking := difference(weights, gradient):
        raise NamesDiffer(f"the pseudo-gradient does not fit the weights: {lacking}.")
    for name, tensor in weights.items():
        if tensor.shape != gradient[name].shape:
            raise ShapesDiffer(f"tensor {name!r} has shape {tuple(gradient[name].shape)} in the pseudo-gradient, {tuple(tensor.shape)} in the weights.")
        if not bool(gradient[name].isfinite().all()):
            raise NonFinite(f"tensor {name!r} of the pseudo-gradient holds NaN or Inf; it was not applied.")
