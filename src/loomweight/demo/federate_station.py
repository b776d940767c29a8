"""Ten clients whose data stays with them, two of them hostile: the mean, and a rule that bears them."""

from dataclasses import replace
from functools import partial

import torch

from ..federate import Dirichlet, Local, Strategy, World, simulate, split
from ..federate.attacks import InnerProduct
from ..rules import Mean, NearestNeighbourMixing, TrimmedMean
from ..weights import Weights
from .models import Row, Zoo, begin, network

_CLIENTS, _HOSTILE, _ROUNDS, _SEED = 10, 2, 15, 400


def federate_station(zoo: Zoo) -> list[Row]:
    """The mean of ten clients, then with two that push the other way, and a robust rule against them."""
    model = network()
    begin(model, torch.Generator().manual_seed(_SEED))
    clients = split(zoo.train, Dirichlet(0.5), _CLIENTS, _SEED)
    local = Local(epochs=2, batch=20, optimizer=partial(torch.optim.SGD, lr=0.2))
    honest, hostile = World(seed=_SEED), dict.fromkeys(list(clients)[-_HOSTILE:], InnerProduct(4.0))
    attacked = replace(honest, attackers=hostile)
    robust = NearestNeighbourMixing(TrimmedMean(f=_HOSTILE), f=_HOSTILE)
    runs = (
        ("10 clients, mean", Mean(), honest, "federated averaging; one-sided data that never left them"),
        ("2 of 10 hostile, mean", Mean(), attacked, "they send the mean of the others times -4"),
        ("2 of 10 hostile, robust rule", robust, attacked, "nearest-neighbour mixing and a trimmed mean, f = 2"),
    )
    return [
        zoo.row(name, Weights.of(simulate(model, clients, Strategy(aggregate=rule, local=local), _ROUNDS, world=world).weights), remark)
        for name, rule, world, remark in runs
    ]
