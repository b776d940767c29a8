"""One run at a constant learning rate, which never settles: its last step, and averages along it."""

from collections.abc import Iterator

import torch
from torch import nn

from ..trajectory import EMA, LAWA, SWA
from ..weights import Weights
from .models import Row, Zoo, batches, begin, network

_STEPS, _BATCH, _RATE, _SEED = 1000, 8, 0.01, 200


def trajectory_station(zoo: Zoo) -> list[Row]:
    """The rows of a noisy run and of its averages."""
    return list(_rows(zoo))


def _rows(zoo: Zoo) -> Iterator[Row]:
    model, length = network(), _STEPS * _BATCH
    begin(model, torch.Generator().manual_seed(_SEED))
    averages = {
        "its EMA": EMA(model, half_life=0.05 * length),
        "its second half, mean": SWA(model, start=0.5, length=length),
        "its last six points, mean": LAWA(model, k=6, every=0.02 * length),
    }
    optimizer = torch.optim.Adam(model.parameters(), lr=_RATE)
    for inputs, labels in batches(zoo.train, _STEPS, _SEED, _BATCH):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
        for average in averages.values():
            average.update(samples=len(labels))
    yield zoo.row("one noisy run, last step", Weights.of(model.state_dict()), "a constant rate of 0.01: the weights never settle")
    remarks = ("half of its weight lies in the last 5 % of the run", "stochastic weight averaging", "2 % of the run apart: latest weight averaging")
    for (name, average), remark in zip(averages.items(), remarks, strict=True):
        yield zoo.row(name, average.value(), remark)
