"""OTFusion and FLEET-MERGE against what they cannot do without, in one run: CPU seconds of one thread.

    python bench/align_soft.py

OTFusion's floor: the matrix products of its cost matrices (of the very shapes and dtype it asked for, on matrices that are there already) and
its solver (SciPy's assignment for one width, POT's network simplex for two). FLEET-MERGE's: the products that move the softly ordered
weights and give the pulls; what its normalizations take is shown beside it. Networks have random weights.
"""

import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from apart_models import mlp, resnet20
from torch import Tensor, nn

from loomweight.align import fleet_merge, making_rows, ot_fusion, soft, transport, transport_walk
from loomweight.weights import from_module
from loomweight.weights.axes import axes

Shape = tuple[int, int, int, torch.dtype]


class Memory(nn.Module):
    """An LSTM that reads a sequence."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.memory, self.out = nn.LSTM(16, width, batch_first=True), nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, steps, 16) -> (batch, 4)"""
        return self.out(self.memory(x)[0][:, -1])


class Spent:
    """Seconds in functions that are replaced while it is open, and the shapes of the products asked for."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.products: Counter[Shape] = Counter()

    def timed(self, word: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its seconds counted under the word."""

        def call(*given: Any, **named: Any) -> Any:
            begin = time.process_time()
            found = function(*given, **named)
            self.seconds[word] += time.process_time() - begin
            return found

        return call

    def asked(self, rows: int, inner: int, columns: int, dtype: torch.dtype) -> None:
        """A product was asked for."""
        self.products[rows, inner, columns, dtype] += 1

    def floor(self) -> float:
        """Seconds of the products alone, the best of three each."""
        return sum(count * min(product(*shape) for _ in range(3)) for shape, count in self.products.items())


def product(rows: int, inner: int, columns: int, dtype: torch.dtype) -> float:
    """Seconds of one, repeated until it can be told."""
    a, b = torch.randn(rows, inner, dtype=dtype), torch.randn(inner, columns, dtype=dtype)
    times = max(1, int(1e8 / (rows * inner * columns)))
    begin = time.process_time()
    for _ in range(times):
        a @ b
    return (time.process_time() - begin) / times


def ot(make: Callable[[int], nn.Module], sizes: tuple[int, int], x: Tensor) -> tuple[float, float, float]:
    """Seconds, of products, of the solver."""
    spent, models = Spent(), [make(size).eval() for size in sizes]
    tables, sets = [axes(model, x) for model in models], [from_module(model) for model in models]
    distances, exact, order = making_rows.squared_distances, transport._exact, transport.best_order

    def counted(first: Tensor, second: Tensor) -> Tensor:
        a, b, inner = first[..., 0].numel(), second[..., 0].numel(), first.shape[-1]
        dtype = torch.float64 if a * b * inner < making_rows._LARGE else torch.float32
        spent.asked(a, inner, b, dtype)
        return distances(first, second)

    transport_walk.squared_distances = counted
    transport._exact, transport.best_order = spent.timed("solver", exact), spent.timed("solver", order)
    begin = time.process_time()
    ot_fusion(tables[0], sets[0], tables[1], sets[1])
    seconds = time.process_time() - begin
    transport_walk.squared_distances, transport._exact, transport.best_order = distances, exact, order
    return seconds, spent.floor(), spent.seconds["solver"]


def fleet(width: int, count: int) -> tuple[float, float, float]:
    """Seconds, of products, of the normalizations."""
    spent, models = Spent(), [Memory(width).eval() for _ in range(count)]
    table, sets = axes(models[0], torch.zeros(2, 3, 16)), [from_module(model) for model in models]
    pulls, sinkhorn = soft.pulls, soft.sinkhorn

    def counted(*given: Any) -> dict[str, Tensor]:
        for inner, columns, times in ((width, width, 16), (16, width, 4)):  # of each gate: two that move and two that compare; its inputs
            for _ in range(times):
                spent.asked(width, inner, columns, torch.float64)
        return pulls(*given)

    soft.pulls, soft.sinkhorn = counted, spent.timed("sinkhorn", sinkhorn)
    begin = time.process_time()
    fleet_merge(table, sets)
    seconds = time.process_time() - begin
    soft.pulls, soft.sinkhorn = pulls, sinkhorn
    return seconds, spent.floor(), spent.seconds["sinkhorn"]


def main() -> None:
    """A line for each network."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    image = torch.zeros(2, 1, 32, 32)
    wide = partial(mlp, 32)
    warm = mlp(8, 16)
    ot_fusion(*[part for model in (warm, warm) for part in (axes(model, torch.zeros(1, 1, 8, 8)), from_module(model))])
    print("| method | networks | s | products s | solver or normalizations s | s over both |\n| --- | --- |" + " ---: |" * 4)
    for name, make, sizes in (
        ("MLP 1024 to 1024", wide, (1024, 1024)),
        ("MLP 1024 to 512", wide, (1024, 512)),
        ("MLP 2048 to 512", wide, (2048, 512)),
        ("ResNet20, first stage 64 to 64", partial(resnet20, 32), (64, 64)),
        ("ResNet20, first stage 64 to 32", partial(resnet20, 32), (64, 32)),
    ):
        seconds, products, solver = ot(make, sizes, image)
        print(f"| OTFusion | {name} | {seconds:.2f} | {products:.2f} | {solver:.2f} | {seconds / (products + solver):.2f} |", flush=True)
    for width in (64, 256):
        seconds, products, sinkhorn = fleet(width, 3)
        print(f"| FLEET-MERGE | three LSTMs of {width} | {seconds:.2f} | {products:.2f} | {sinkhorn:.2f} | {seconds / (products + sinkhorn):.2f} |", flush=True)


if __name__ == "__main__":
    main()
