"""Federated simulation: against a bare loop of the same local steps, and a thousand clients in bounded memory.

    python bench/federate.py

Each figure is the median of several turns in which ours and the floor take turns, so that what else runs on the machine hits both.
"""

import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from loomweight.federate import Local, Sample, Strategy, simulate
from loomweight.rules import Median

RATE, BATCH, STEPS = 0.05, 32, 10


def network(inputs: int = 784, hidden: int = 200) -> nn.Module:
    """784-200-10: 159,010 parameters, McMahan's 2NN without its second layer."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 10))


def convolutional() -> nn.Module:
    """Two convolutions and a linear layer: 20,490 parameters, nearly all time in the steps."""
    torch.manual_seed(0)
    convolutions = nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)
    return nn.Sequential(nn.Unflatten(1, (1, 28, 28)), *convolutions, nn.Flatten(), nn.Linear(32 * 49, 10))


def clients(count: int, examples: int = BATCH * STEPS, inputs: int = 784) -> list[tuple[Tensor, Tensor]]:
    """Random images and labels: time does not depend on what is learned."""
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(examples, inputs, generator=generator), torch.randint(10, (examples,), generator=generator)) for _ in range(count)]


def bare(net: nn.Module, parts: list[tuple[Tensor, Tensor]], rounds: int) -> None:
    """What anybody would write: the same steps on the same batches, and a mean of state dicts."""
    torch.set_num_threads(1)
    weights = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    for _ in range(rounds):
        total = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
        for inputs, targets in parts:
            net.load_state_dict(weights)
            optimizer = torch.optim.SGD(net.parameters(), lr=RATE)
            for chosen in torch.randperm(len(inputs)).split(BATCH):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(net(inputs[chosen]), targets[chosen])
                loss.backward()
                optimizer.step()
            for name, tensor in net.state_dict().items():
                total[name] += tensor / len(parts)
        weights = total


def ours(net: nn.Module, parts: list[tuple[Tensor, Tensor]], rounds: int) -> None:
    """The same through `simulate`."""
    torch.set_num_threads(1)
    simulate(net, parts, Strategy(local=Local(batch=BATCH, optimizer=partial(torch.optim.SGD, lr=RATE))), rounds)


def ratio(floor: Callable[[], None], made: Callable[[], None], turns: int = 5) -> tuple[float, float]:
    """Median CPU seconds of the floor, and the median of the ratios of turns that follow each other."""
    floors, ratios = [], []
    floor(), made()
    for _ in range(turns):
        began = time.process_time()
        floor()
        middle = time.process_time()
        made()
        floors.append(middle - began)
        ratios.append((time.process_time() - middle) / (middle - began))
    return statistics.median(floors), statistics.median(ratios)


class Lazy(Mapping[str, tuple[Tensor, Tensor]]):
    """A thousand clients whose data are made when they are asked for."""

    def __init__(self, count: int) -> None:
        self.names = [f"{i:04}" for i in range(count)]

    def __getitem__(self, name: str) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(int(name))
        return torch.randn(64, 784, generator=generator), torch.randint(10, (64,), generator=generator)

    def __iter__(self):
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def peak() -> float:
    """The largest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def thousand() -> None:
    """1,000 clients of a model of a million parameters, all in one round."""
    net = network(hidden=1260)
    size = sum(tensor.numel() for tensor in net.state_dict().values())
    simulate(net, dict(list(Lazy(3).items())), Strategy(), 1)
    before, began = peak(), time.perf_counter()
    simulate(net, Lazy(1000), Strategy(local=Local(batch=64)), 1)
    took, more = time.perf_counter() - began, peak() - before
    print(f"mean of 1,000 clients x {size:,} parameters: {took:.1f} s, {more:.0f} MB more than 3 clients ({4 * size / 2**20:.1f} MB a model)")
    before = peak()
    simulate(net, Lazy(1000), Strategy(choose=Sample(20), aggregate=Median(), local=Local(batch=64)), 2)
    print(f"median of 20 of them: {peak() - before:.0f} MB more")


def main() -> None:
    """Print the table."""
    for name, make in (("784-200-10", network), ("convolutions", convolutional)):
        parts = clients(10)
        net = make()
        floor, made = ratio(partial(bare, net, parts, 2), partial(ours, net, parts, 2))
        print(f"{name}: bare loop {floor:.2f} CPU s, ours {made:.3f} of it (10 clients, {STEPS} steps of {BATCH}, 2 rounds)")
    sys.stdout.flush()
    thousand()


if __name__ == "__main__":
    main()
