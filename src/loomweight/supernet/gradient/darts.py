"""Weights on training data and alphas on validation data, in turn.

Paper: DARTS: Differentiable Architecture Search (2018, https://arxiv.org/abs/1806.09055), algorithm 1 and equations 6 to 8.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from ...errors import BadParameter
from ..step import Loss
from .descent import Batch, Gradients, descend, gradients, loss_of
from .relaxed import Relaxed


@dataclass(eq=False)
class Darts:
    """alphas: a step on the validation loss after the weights' next step, w' = w - rate x d L_train(w) / dw; weights: a step on L_train.

    With order 1 w' is w, the first-order approximation. With order 2 the second derivative is a difference of two gradients, at
    w + e v and w - e v, v = d L_valid(w') / dw', e = 0.01 / ||v||. Coefficients that are drawn are the same in all passes of one step.

    Args:
        mixed: the relaxed model, in training mode.
        weights: steps on its weights; `SubnetOptimizer` where the model is elastic. Order 2 takes rate, momentum and decay from it, as of SGD.
        alphas: steps on its alphas; the paper's is Adam(lr=3e-4, betas=(0.5, 0.999), weight_decay=1e-3).
        loss: (outputs, targets) -> mean loss.
        order: 1 or 2.

    Raises:
        BadParameter: another order.

    >>> from torch import nn
    >>> from loomweight.supernet import Choice, relaxed
    >>> mixed = relaxed(Choice({"skip": nn.Identity(), "times": nn.Linear(2, 2)}))
    >>> sgd, adam = torch.optim.SGD(mixed.weights.values(), 0.1), torch.optim.Adam(mixed.alphas.values(), 0.01)
    >>> search = Darts(mixed, sgd, adam, nn.functional.mse_loss)
    >>> batch = (torch.ones(3, 2), torch.ones(3, 2))
    >>> for _ in range(3):
    ...     _ = search.step(batch, batch)
    >>> mixed.values()
    {'model': 'skip'}
    """

    mixed: Relaxed
    weights: Optimizer
    alphas: Optimizer
    loss: Loss
    order: int = 1

    def __post_init__(self) -> None:
        if self.order not in (1, 2):
            raise BadParameter(f"the order of DARTS is 1 or 2, found {self.order}.")

    def step(self, train: Batch, valid: Batch) -> float:
        """One step on the alphas, then one on the weights; the training loss.

        Args:
            train, valid: (inputs, targets) each. One-level search gives the same twice.
        """
        alphas: list[Tensor] = list(self.mixed.alphas.values())
        found = self._first(alphas, valid) if self.order == 1 else self._second(alphas, train, valid)
        descend(self.alphas, alphas, found)
        weights = list(self.mixed.weights.values())
        value = loss_of(self.mixed, self.loss, train)
        descend(self.weights, weights, gradients(value, weights))
        return float(value.detach())

    def _first(self, alphas: list[Tensor], valid: Batch) -> Gradients:
        return gradients(loss_of(self.mixed, self.loss, valid) + self.mixed.penalty(), alphas)

    def _second(self, alphas: list[Tensor], train: Batch, valid: Batch) -> Gradients:
        generator, weights = self.mixed.random, self.mixed.weights
        state = generator.get_state()
        rates, unrolled = self._unrolled(weights, train)
        value = self._again(state, valid, unrolled) + self.mixed.penalty()
        first = gradients(value, [*alphas, *unrolled.values()])
        direction = {name: torch.zeros_like(w) if g is None else g for (name, w), g in zip(weights.items(), first[len(alphas) :], strict=True)}
        length = float(torch.stack([v.square().sum() for v in direction.values()]).sum().sqrt())
        if not length:
            return first[: len(alphas)]
        step = 0.01 / length
        plus, minus = (
            gradients(self._again(state, train, {name: w.detach() + sign * step * rates[name] * direction[name] for name, w in weights.items()}), alphas)
            for sign in (1, -1)
        )
        return [
            _without(g, a, None if p is None or m is None else (p - m) / (2 * step))
            for g, a, p, m in zip(first[: len(alphas)], alphas, plus, minus, strict=True)
        ]

    def _again(self, state: Tensor, batch: Batch, weights: Mapping[str, Tensor]) -> Tensor:
        generator = self.mixed.random
        generator.set_state(state)
        return loss_of(self.mixed, self.loss, batch, weights)

    def _unrolled(self, weights: Mapping[str, Tensor], train: Batch) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Learning rate of each weight, and the weights after one step of SGD."""
        found = gradients(loss_of(self.mixed, self.loss, train), list(weights.values()))
        groups = {id(tensor): group for group in self.weights.param_groups for tensor in group["params"]}
        rates: dict[str, float] = {}
        made: dict[str, Tensor] = {}
        for (name, tensor), gradient in zip(weights.items(), found, strict=True):
            group = groups.get(id(tensor), {"lr": 0.0})
            moved = group.get("weight_decay", 0.0) * tensor.detach() + (0.0 if gradient is None else gradient)
            buffer = self.weights.state.get(tensor, {}).get("momentum_buffer")
            moved = moved if buffer is None else moved + group["momentum"] * buffer
            rates[name] = float(group["lr"])
            made[name] = (tensor.detach() - rates[name] * moved).requires_grad_()
        return rates, made


def _without(gradient: Tensor | None, alpha: Tensor, second: Tensor | None) -> Tensor | None:
    if second is None:
        return gradient
    return (torch.zeros_like(alpha) if gradient is None else gradient) - second
