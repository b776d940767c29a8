"""The adaptive optimizers of servers: they take the pooled update, negated, for a gradient."""

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from ...errors import BadParameter

Second = Literal["adam", "yogi", "adagrad"]


class Adaptive(Optimizer):
    """m <- b1 m + (1 - b1) g; v by its kind; w <- w - lr m / (sqrt(v) + tau).

    adam: v <- b2 v + (1 - b2) g^2; yogi: v <- v - (1 - b2) g^2 sign(v - g^2); adagrad: v <- v + g^2.

    m starts at 0 and v at tau^2, and nothing is corrected for that start: torch's Adam starts v at 0, divides m and v by
    1 - b^t, and so takes a first step of about `lr` in every entry, where this one takes (1 - b1) lr g / (sqrt(v) + tau).

    Args:
        params: tensors.
        lr: the server's learning rate.
        betas: of m and v; adagrad has no use for the second.
        tau: how little it adapts.
        kind: adam, yogi or adagrad.

    Raises:
        BadParameter: a number out of its range, or another kind.

    >>> w = torch.zeros(1, requires_grad=True)
    >>> w.grad = torch.tensor([-1.0])
    >>> Adaptive([w], lr=1.0, betas=(0.0, 0.99), tau=0.5, kind="adagrad").step()
    >>> w  # 1 / (sqrt(0.25 + 1) + 0.5)
    tensor([0.6180], requires_grad=True)
    """

    def __init__(self, params: Iterable[Tensor], lr: float = 0.1, betas: tuple[float, float] = (0.9, 0.99), tau: float = 1e-3, kind: Second = "adam") -> None:
        if lr <= 0 or tau <= 0 or not all(0 <= beta < 1 for beta in betas) or kind not in _SECONDS:
            raise BadParameter(f"Adaptive: lr and tau are positive, betas in [0, 1), kind one of {', '.join(_SECONDS)}; found {lr}, {tau}, {betas}, {kind!r}.")
        super().__init__(params, {"lr": lr, "betas": betas, "tau": tau, "kind": kind})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step."""
        for group in self.param_groups:
            (first, second), tau = group["betas"], group["tau"]
            for tensor in (tensor for tensor in group["params"] if tensor.grad is not None):
                state = self.state[tensor]
                if not state:
                    state |= {"m": torch.zeros_like(tensor), "v": torch.full_like(tensor, tau**2)}
                state["m"].mul_(first).add_(tensor.grad, alpha=1 - first)
                state["v"] = _SECONDS[group["kind"]](state["v"], tensor.grad.square(), second)
                tensor.sub_(group["lr"] * state["m"] / (state["v"].sqrt() + tau))


def _adam(v: Tensor, square: Tensor, beta: float) -> Tensor:
    return beta * v + (1 - beta) * square


def _yogi(v: Tensor, square: Tensor, beta: float) -> Tensor:
    return v - (1 - beta) * square * torch.sign(v - square)


def _adagrad(v: Tensor, square: Tensor, beta: float) -> Tensor:
    return v + square


_SECONDS: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {"adam": _adam, "yogi": _yogi, "adagrad": _adagrad}
