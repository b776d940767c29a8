"""Weak operators go one by one under a growing price of resources: a series of networks in one run.

Paper: GOLD-NAS: Gradual, One-Level, Differentiable (2020, https://arxiv.org/abs/2007.03331), section 3.

No code of the authors was found to compare with. In the paper an edge may lose all of its operators; here each field keeps its strongest,
so that every network of the series runs. The price is a concave function of each gate, as in the paper, by which weak gates fall first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ...errors import BadParameter, unknown
from ..step import Loss
from .coefficients import Coefficients, Field
from .descent import Batch, descend, gradients, loss_of
from .relaxed import Relaxed


@dataclass(frozen=True)
class Gates(Coefficients):
    """coefficient k = 1 / (1 + exp(-alpha k)): options do not compete, several may stay.

    Part of: gold_nas.

    >>> Gates().mean(torch.zeros(2), Field("op", ("skip", "conv"))).tolist()
    [0.5, 0.5]
    """

    def draw(self, alpha: Tensor, field: Field, random: torch.Generator, done: float) -> Tensor:
        """The same every time."""
        return alpha.sigmoid()

    def mean(self, alpha: Tensor, field: Field) -> Tensor:
        """The gates."""
        return alpha.sigmoid()


@dataclass(frozen=True)
class Pruned:
    """One network of the series.

    Part of: gold_nas.

    Args:
        kept: field -> the options that stay.
        cost: the sum of their costs, as a share of that of all.
        price: the factor of the resources when it was reached.
    """

    kept: Mapping[str, tuple[Any, ...]]
    cost: float
    price: float


@dataclass(eq=False)
class GoldNas:
    """One level: weights and gates minimise loss + price x sum over options of share of cost x ln(1 + gate / mean gate).

    After each round (`prune`) options whose gate is below the threshold go for good. The price then grows by `growth`; while a round
    prunes fewer than `fewest`, growth doubles, and as soon as one does not it is what it was. `series` holds the networks on the way,
    from the whole to one option a field: an approximation of the front of loss and cost.

    Args:
        mixed: relaxed with `Gates`, in training mode.
        weights, alphas: optimizers.
        loss: (outputs, targets) -> mean loss.
        costs: field -> cost of each option, in any unit; `costs_of(mixed)` counts parameters.
        growth: of the price, a round.
        threshold: gates below it go.
        fewest: options that a round should prune.

    Raises:
        BadParameter: other coefficients, costs that do not fit, or numbers out of range.
    """

    mixed: Relaxed
    weights: Optimizer
    alphas: Optimizer
    loss: Loss
    costs: Mapping[str, Sequence[float]]
    growth: float = 0.01
    threshold: float = 0.05
    fewest: int = 1
    price: float = field(default=0.0, init=False)
    series: list[Pruned] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self._step_of_price = self.growth
        if not (self.growth > 0 and 0 < self.threshold < 0.5 and self.fewest >= 1):
            raise BadParameter(f"growth is above 0, the threshold in (0, 0.5), fewest at least 1; found {self.growth}, {self.threshold}, {self.fewest}.")
        for name in self.costs:
            if name not in self.mixed.fields:
                raise unknown("relaxed field", name, self.mixed.fields)
        for name, one in self.mixed.fields.items():
            self._check(name, one)
        total = sum(sum(each) for each in self.costs.values()) or 1.0
        self._shares = {name: torch.tensor([float(c) for c in each]) / total for name, each in self.costs.items()}
        self._alive = {name: torch.ones(len(one.options), dtype=torch.bool) for name, one in self.mixed.fields.items()}
        self._note()

    def step(self, train: Batch) -> float:
        """One step on weights and gates; the training loss without the price."""
        weights, alphas = list(self.mixed.weights.values()), list(self.mixed.alphas.values())
        value = loss_of(self.mixed, self.loss, train)
        found = gradients(value + self.price * self.resources(), [*weights, *alphas])
        descend(self.weights, weights, found[: len(weights)])
        descend(self.alphas, alphas, found[len(weights) :])
        return float(value.detach())

    def resources(self) -> Tensor:
        """The sum over options that are left of share of cost x ln(1 + gate / mean gate); the mean is a constant."""
        gates = {name: alpha.sigmoid() for name, alpha in self.mixed.alphas.items()}
        left = torch.cat([gates[name].detach()[alive.to(gates[name].device)] for name, alive in self._alive.items()]).mean()
        parts = [(self._shares[name].to(gate) * torch.log1p(gate / left) * self._alive[name].to(gate)).sum() for name, gate in gates.items()]
        return torch.stack(parts).sum()

    def prune(self) -> Pruned:
        """End a round: weak options go, the price grows; the network that is left."""
        gone = 0
        for name, alpha in self.mixed.alphas.items():
            gate, alive = alpha.detach().sigmoid().cpu(), self._alive[name]
            weak = alive & (gate < self.threshold)
            weak[gate.masked_fill(~alive, -1).argmax()] = False
            gone += int(weak.sum())
            self._alive[name] = alive & ~weak
            self.mixed.masks[name] = self._alive[name].to(alpha)
        self._step_of_price = self.growth if gone >= self.fewest else 2 * self._step_of_price
        self.price += self._step_of_price
        if gone:
            self._note()
        return self.series[-1]

    def state_dict(self) -> dict[str, Any]:
        """Price, its growth, and the series; the relaxed model and the optimizers have states of their own."""
        series = [{"kept": {name: list(kept) for name, kept in each.kept.items()}, "cost": each.cost, "price": each.price} for each in self.series]
        return {"price": self.price, "growth": self._step_of_price, "series": series}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.price, self._step_of_price = float(state["price"]), float(state["growth"])
        self.series = [Pruned({name: tuple(kept) for name, kept in each["kept"].items()}, each["cost"], each["price"]) for each in state["series"]]
        for name, one in self.mixed.fields.items():
            self._alive[name] = torch.tensor([option in self.series[-1].kept[name] for option in one.options])

    @property
    def over(self) -> bool:
        """True where one option is left of each field."""
        return all(int(alive.sum()) == 1 for alive in self._alive.values())

    def _note(self) -> None:
        kept = {name: tuple(o for o, alive in zip(one.options, self._alive[name].tolist(), strict=True) if alive) for name, one in self.mixed.fields.items()}
        cost = sum(float(self._shares[name][alive].sum()) for name, alive in self._alive.items())
        self.series.append(Pruned(kept, cost, self.price))

    def _check(self, name: str, one: Field) -> None:
        if not isinstance(self.mixed.coefficients[name], Gates):
            raise BadParameter(f"GOLD-NAS needs gates, but {name!r} is relaxed by {type(self.mixed.coefficients[name]).__name__}; relax with Gates().")
        given = self.costs.get(name, ())
        if len(given) != len(one.options) or any(not cost >= 0 for cost in given):
            raise BadParameter(f"{name!r} has {len(one.options)} options and needs a cost of at least 0 for each, found {list(given)}.")
