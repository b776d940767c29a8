"""One training run that holds 25 networks: its front between accuracy and size, and three of them exported as plain networks."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from ..search import Budget, Values, find
from ..supernet import Elastic, Sandwich, SubnetOptimizer, Uniform, elastic
from .models import Row, Split, Zoo, batches, begin, network

_SPACE = "width * : 8 16 32 64 96"
_STEPS, _RATE, _SEED, _TRIALS = 500, 3e-3, 300, 20


class Point(NamedTuple):
    """A subnet that the search tried: its parameters, its accuracy on validation digits, and whether it is on the front."""

    params: int
    accuracy: float
    best: bool


@dataclass(frozen=True)
class Shelf:
    """What the station shows.

    Args:
        rows: three exported networks, and the smallest one trained alone.
        points: what the search tried, for the picture.
    """

    rows: list[Row]
    points: list[Point]


def supernet_station(zoo: Zoo) -> Shelf:
    """Train one supernet, search it, export the smallest, one for a quarter of the parameters, and the largest."""
    net = _trained(zoo.train)
    found = find(net, {"accuracy": lambda values: _accuracy(net, values, zoo.validation)}, minimise=("params",), budget=Budget(_TRIALS, "nsga2"))
    front = found.front
    points = [Point(int(trial.values[1]), trial.values[0], trial in front) for trial in found.trials]
    few = net.cost(net.max()).params // 4
    middle = max((trial for trial in front if trial.values[1] <= few), key=lambda trial: trial.values[0]).parameters
    rows = [
        _row(zoo, net, "supernet, smallest", net.min(), "one run trained 25 networks"),
        _alone(zoo, net.export(net.min())),
        _row(zoo, net, "supernet, middle", middle, "the best of a quarter of the size"),
        _row(zoo, net, "supernet, largest", net.max(), "the whole network"),
    ]
    return Shelf(rows, points)


def _trained(data: Split) -> Elastic:
    model = network()
    begin(model, torch.Generator().manual_seed(_SEED))
    net = elastic(model, _SPACE, torch.zeros(1, 64))
    step = Sandwich(loss=nn.functional.cross_entropy, sampler=Uniform(), subnets=1, seed=_SEED)
    optimizer = SubnetOptimizer(net, torch.optim.Adam(net.parameters(), lr=_RATE))
    for inputs, labels in batches(data, _STEPS, _SEED):
        optimizer.zero_grad()
        step(net, inputs, labels)
        optimizer.step()
    return net.eval()  # type: ignore[no-any-return]


@torch.no_grad()
def _accuracy(net: Elastic, values: Values, data: Split) -> float:
    with net.selected(values):
        return float((net(data[0]).argmax(1) == data[1]).float().mean())


def _row(zoo: Zoo, net: Elastic, name: str, values: Values, remark: str) -> Row:
    cost = net.cost(values)
    return Row(name, *_scores(net.export(values), zoo.test), f"{cost.params:,} parameters, {cost.flops:,} operations; {remark}")


def _alone(zoo: Zoo, model: nn.Module) -> Row:
    """The same small network from a start of its own, for as many steps."""
    begin(model, torch.Generator().manual_seed(_SEED))
    optimizer = torch.optim.Adam(model.parameters(), lr=_RATE)
    for inputs, labels in batches(zoo.train, _STEPS, _SEED):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    return Row("the smallest, trained alone", *_scores(model, zoo.test), "as many steps for it alone")


@torch.no_grad()
def _scores(model: nn.Module, data: Split) -> tuple[float, float]:
    """(accuracy, mean cross entropy) of any network."""
    logits = model.eval()(data[0])
    return float((logits.argmax(1) == data[1]).float().mean()), float(nn.functional.cross_entropy(logits, data[1]))
