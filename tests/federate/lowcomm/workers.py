"""Several workers in one process: each in a thread, with a gloo group of its own over one store."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import HashStore, ProcessGroupGloo


def together(bodies: list[Callable[[], Any]], timeout: float = 60) -> list[Any]:
    """Run them at once; their results, or the first error."""
    with ThreadPoolExecutor(len(bodies)) as pool:
        running = [pool.submit(body) for body in bodies]
        return [one.result(timeout) for one in running]


def grouped(number: int, body: Callable[[int, Any], Any]) -> list[Any]:
    """`body(rank, group)` in that many threads."""
    store = HashStore()
    return together([lambda rank=rank: body(rank, ProcessGroupGloo(store, rank, number, timedelta(seconds=20))) for rank in range(number)])


def net(seed: int = 0) -> nn.Module:
    """Twenty-odd parameters, with BatchNorm."""
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 1))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def plain(seed: int = 0) -> nn.Module:
    """Without BatchNorm."""
    return nn.Sequential(*[layer for layer in net(seed) if not isinstance(layer, nn.BatchNorm1d)])


def batch(rank: int, step: int, size: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1000 * rank + step)
    x = torch.randn(size, 4, generator=generator)
    return x, x.sum(1, keepdim=True).sin()


def train(model: nn.Module, optimizer: torch.optim.Optimizer, rank: int, steps: range, after: Callable[[], object] = lambda: None) -> None:
    for step in steps:
        optimizer.zero_grad()
        x, y = batch(rank, step)
        (model(x) - y).square().mean().backward()
        optimizer.step()
        after()


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    """To the bit."""
    return left.keys() == right.keys() and all(left[name].equal(right[name]) for name in left)
