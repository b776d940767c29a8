"""What bench/gram.py and bench/pointwise.py measure by: one pass over all inputs, a whole rule, and the quickest of some rounds."""

import time
from collections.abc import Callable

import torch

from loomweight import Weights
from loomweight.rules import Rule, combine
from loomweight.weights import BLOCK
from loomweight.weights.spec import spans


def best(bodies: list[Callable[[], object]], rounds: int) -> list[float]:
    """CPU seconds of the thread in the quickest round of each, taken in turns."""
    times = [float("inf")] * len(bodies)
    for _ in range(rounds):
        for i, body in enumerate(bodies):
            start = time.thread_time()
            body()
            times[i] = min(times[i], time.thread_time() - start)
    return times


def one_pass(sets: list[torch.Tensor]) -> None:
    """The cheapest combination: one accumulator of a block's size, used for all."""
    total = torch.empty(min(BLOCK, len(sets[0])))
    for lo, hi in spans(len(sets[0])):
        here = total[: hi - lo].zero_()
        for x in sets:
            here.add_(x[lo:hi].float(), alpha=1 / len(sets))


def merged(sets: list[Weights], rule: Rule) -> None:
    """The whole rule, block by block, as the writer asks for it."""
    out = combine(sets, rule)
    for name in out:
        block = out.open(name)
        for lo, hi in spans(out.spec[name].numel):
            block(lo, hi)


def tensors_of(n: int, entries: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """Independent normal numbers."""
    return [torch.randn(entries, generator=torch.Generator().manual_seed(i)).to(dtype) for i in range(n)]
