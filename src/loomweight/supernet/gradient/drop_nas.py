"""Operations dropped by groups while all are searched, so that those that learn fast do not leave the others behind.

Paper: DropNAS: Grouped Operation Dropout for Differentiable Architecture Search (2022, https://arxiv.org/abs/2201.11679), section 3.

The authors' optimizers go on moving alphas of dropped operations by their momentum; here these stay where they are, as the paper says.
Weights decay where the optimizer makes them; the authors decay in a second step.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ...errors import BadParameter
from ..step import Loss
from .coefficients import Coefficients, Field
from .descent import Batch, descend, finite, gradients
from .relaxed import Relaxed


@dataclass(frozen=True)
class GroupedDropout(Coefficients):
    """Softmax over the options that stay. Those with parameters and those without are two groups, and in each at least one stays.

    Part of: drop_nas.

    Args:
        rate: an option of a group of n is dropped with probability rate ** (1 / n), so that all would be with probability `rate`.

    >>> random, field = torch.Generator().manual_seed(0), Field("op", ("skip", "pool", "conv"), (True, True, False))
    >>> GroupedDropout(0.25).draw(torch.zeros(3), field, random, 0.0)[2].item() > 0
    True
    """

    rate: float = 3e-5

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise BadParameter(f"the rate of dropout lies in [0, 1), found {self.rate}.")

    def draw(self, alpha: Tensor, field: Field, random: torch.Generator, done: float) -> Tensor:
        """exp(alpha) / sum over those that stay of exp(alpha); 0 for those that are dropped."""
        return alpha.masked_fill(~self._kept(field, random).to(alpha.device), float("-inf")).softmax(-1)

    def mean(self, alpha: Tensor, field: Field) -> Tensor:
        """The softmax of all."""
        return alpha.softmax(-1)

    def _kept(self, field: Field, random: torch.Generator) -> Tensor:
        free = torch.tensor(field.free or (False,) * len(field.options))
        kept = torch.zeros(len(free), dtype=torch.bool)
        for group in (free, ~free):
            if count := int(group.sum()):
                while not kept[group].any():
                    kept[group] = torch.rand(count, generator=random) >= self.rate ** (1 / count)
        return kept


@dataclass(eq=False)
class DropNas:
    """One level: weights and alphas step on the same batch, under coefficients of `GroupedDropout`.

    Alphas of dropped options stay, and those of the others are shifted together afterwards so that the dropped ones' softmax is what it
    was: an option is not punished for being away. Weights of dropped options have no gradient, and are not decayed.

    Args:
        mixed: relaxed with `GroupedDropout`, in training mode.
        weights, alphas: optimizers; the paper's decay both.
        loss: (outputs, targets) -> mean loss.
        warmup: steps during which nothing is dropped and alphas stay.

    Raises:
        BadParameter: the coefficients are others.
    """

    mixed: Relaxed
    weights: Optimizer
    alphas: Optimizer
    loss: Loss
    warmup: int = 0

    def __post_init__(self) -> None:
        self.count = 0
        for name, method in self.mixed.coefficients.items():
            if not isinstance(method, GroupedDropout):
                raise BadParameter(f"DropNAS drops by groups, but {name!r} is relaxed by {type(method).__name__}; relax the model with GroupedDropout().")

    def step(self, train: Batch) -> float:
        """One step; the training loss."""
        warm = self.count < self.warmup
        coefficients = self._all() if warm else self.mixed.draw()
        alphas, weights = list(self.mixed.alphas.values()), list(self.mixed.weights.values())
        value = finite(self.loss(self.mixed.run(train[0], coefficients=coefficients), train[1]))
        found = gradients(value, [*weights, *alphas])
        descend(self.weights, weights, found[: len(weights)])
        if not warm:
            before = [alpha.detach().clone() for alpha in alphas]
            descend(self.alphas, alphas, found[len(weights) :])
            for alpha, old, chosen in zip(alphas, before, coefficients.values(), strict=True):
                settle(alpha, old, chosen.detach() != 0)
        self.count += 1
        return float(value.detach())

    def state_dict(self) -> dict[str, Any]:
        """Steps done; the relaxed model and the optimizers have states of their own."""
        return {"count": self.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.count = int(state["count"])

    def _all(self) -> dict[str, Tensor]:
        return {name: alpha.softmax(-1) for name, alpha in self.mixed.alphas.items()}


@torch.no_grad()
def settle(alpha: Tensor, before: Tensor, kept: Tensor) -> None:
    """Put dropped alphas back, and shift the kept ones so that the share of the softmax that the dropped ones have is as before.

    >>> alpha, before, kept = torch.tensor([1.0, 5.0, 0.0]), torch.tensor([0.0, 0.0, 0.0]), torch.tensor([True, False, True])
    >>> settle(alpha, before, kept)
    >>> [round(share, 4) for share in alpha.softmax(0).tolist()]
    [0.4874, 0.3333, 0.1793]
    """
    if bool(kept.all()):
        return
    alpha[~kept] = before[~kept]
    alpha[kept] += before[kept].logsumexp(0) - alpha[kept].logsumexp(0)
