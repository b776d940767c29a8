"""The federations of bench/federate_methods.py and bench/federate_attacks.py: data, clients, a small perceptron, and what is measured."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import ceil
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from loomweight import federate
from loomweight.federate import Dirichlet, Everyone, Local, Partition, Sample, Strategy, World

Split = tuple[Tensor, Tensor]
Found = dict[str, float]
CLASSES, LAST = 10, 5
#: of the local SGD: the best of a few for FedAvg
RATES = {"digits": 0.4, "fashion": 0.2}


@dataclass(frozen=True)
class Case:
    """One federation.

    Args:
        data: its name.
        clients: name -> (inputs, labels).
        asked: clients a round; None is all.
        rounds: of the run.
        steps: local steps of a task.
        seed: of everything.
        test, proxy: images that no client has.
    """

    data: str
    clients: Mapping[str, Split]
    asked: int | None
    rounds: int
    steps: int
    seed: int
    test: Split
    proxy: Split

    @property
    def pixels(self) -> int:
        return self.test[0][0].numel()

    @property
    def busy(self) -> int:
        """Clients that work at a time."""
        return self.asked or len(self.clients)

    def network(self) -> nn.Module:
        """pixels-64-10, its first weights by the seed."""
        torch.manual_seed(self.seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(self.pixels, 64), nn.ReLU(), nn.Linear(64, CLASSES))

    def normed(self) -> nn.Module:
        """The same with BatchNorm."""
        torch.manual_seed(self.seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(self.pixels, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, CLASSES))

    def local(self, rate: float | None = None) -> Local:
        return Local(steps=self.steps, batch=20, optimizer=partial(torch.optim.SGD, lr=rate or RATES[self.data]))

    def strategy(self, **hooks: Any) -> Strategy:
        """Federated averaging, with other hooks where they are given."""
        whole = Strategy(choose=Sample(self.asked) if self.asked else Everyone(), local=self.local())
        return replace(whole, **hooks)

    @cached_property
    def shares(self) -> Tensor:
        """Of each label, by client."""
        counts = torch.stack([torch.bincount(labels, minlength=CLASSES) for _, labels in self.clients.values()]).double()
        return counts / counts.sum(1, keepdim=True)

    def measured(self, model: nn.Module) -> Found:
        """Test accuracy; and the mean over the worst tenth of the clients, each with test images in the proportions of its own labels."""
        recall = recalls(model, self.test)
        often = torch.bincount(self.test[1], minlength=CLASSES).double() / len(self.test[1])
        worst = (self.shares @ recall).sort().values[: ceil(len(self.shares) / 10)].mean()
        return {"accuracy": float(often @ recall), "worst": float(worst)}

    def run(self, strategy: Strategy, model: nn.Module | None = None, rounds: int | None = None, **world: Any) -> list[dict[str, Any]]:
        """The history."""
        world = {"seed": self.seed, "test": self.measured, **world}
        return federate.simulate(model or self.network(), self.clients, strategy, rounds or self.rounds, world=World(**world)).history


@torch.no_grad()
def accuracy(model: nn.Module, data: Split) -> float:
    return float((model(data[0]).argmax(1) == data[1]).double().mean())


@torch.no_grad()
def recalls(model: nn.Module, data: Split) -> Tensor:
    """Accuracy by class."""
    right = (model(data[0]).argmax(1) == data[1]).double()
    return torch.stack([right[data[1] == label].mean() for label in range(CLASSES)])


def ended(history: list[dict[str, Any]]) -> Found:
    """Means over the last rounds; megabytes that went up in all."""
    last = history[-LAST:]
    numbers = {name: mean(line[name] for line in last) for name in ("accuracy", "worst")}
    return {**numbers, "up": sum(line["bytes_up"] for line in history) / 1e6}


def digits() -> tuple[Split, Split, Split]:
    """scikit-learn's digits, 8 x 8: 1,300 to train on, 400 to test on, 97 of the server."""
    from sklearn.datasets import load_digits

    pixels, numbers = load_digits(return_X_y=True)
    order = torch.randperm(len(numbers), generator=torch.Generator().manual_seed(0))
    images, labels = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8)[order] / 16, torch.tensor(numbers)[order]
    return (images[497:], labels[497:]), (images[:400], labels[:400]), (images[400:497], labels[400:497])


def fashion() -> tuple[Split, Split, Split]:
    """Fashion-MNIST, 28 x 28: 6,000 to train on, 2,000 to test on, 100 of the server."""
    folder = Path(os.environ.get("LOOMWEIGHT_DATA", "../shared/data")) / "fashion-mnist"

    def read(name: str) -> Split:
        held = np.load(folder / name)
        return torch.tensor(held["x"], dtype=torch.float32)[:, None] / 255, torch.tensor(held["y"], dtype=torch.int64)

    (images, labels), test = read("train_small.npz"), read("test_small.npz")
    return (images[:6000], labels[:6000]), (test[0][:2000], test[1][:2000]), (images[6000:6100], labels[6000:6100])


DATA: Mapping[str, Callable[[], tuple[Split, Split, Split]]] = {"digits": digits, "fashion": fashion}
_loaded: dict[str, tuple[Split, Split, Split]] = {}


def case(data: str, count: int, seed: int, rounds: int, steps: int, partition: Partition | None = None) -> Case:
    """Of ten clients all are asked, of a hundred twenty; clients without an image are left out."""
    if data not in _loaded:
        _loaded[data] = DATA[data]()
    train, test, proxy = _loaded[data]
    parts = federate.split(train, partition or Dirichlet(0.1, smallest=0), clients=count, seed=seed)
    clients = {name: part for name, part in parts.items() if len(part[1])}
    return Case(data, clients, None if count <= 10 else 20, rounds, steps, seed, test, proxy)
