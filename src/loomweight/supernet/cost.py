"""What a subnet costs."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Cost:
    """Costs of one subnet on the example inputs.

    Args:
        params: entries of its parameters; shared ones count once.
        flops: floating point operations of one forward pass (a multiplication and an addition are two), as torch counts them:
            products of matrices, convolutions, attention.
        nbytes: of its parameters and buffers.
        measure: runs the subnet; `latency_ms` calls it.
    """

    params: int
    flops: int
    nbytes: int
    measure: Callable[[], float]

    @cached_property
    def latency_ms(self) -> float:
        """Milliseconds of one forward pass on this device, measured when asked for: the median of repeated runs."""
        return self.measure()

    def __repr__(self) -> str:
        return f"Cost(params={self.params:,}, flops={self.flops:,}, nbytes={self.nbytes:,})"


def flops_of(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Of one forward pass."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(*args, **kwargs)
    return counter.get_total_flops()


def latency_of(run: Callable[[], Any], device: torch.device, seconds: float = 0.2, most: int = 50) -> float:
    """Milliseconds: the median over runs that take `seconds` in all, at least 5 after 2 that warm up."""
    times: list[float] = []
    with torch.no_grad():
        for number in range(most + 2):
            begin = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            elif device.type == "mps":
                torch.mps.synchronize()
            if number > 1:
                times.append(1000 * (time.perf_counter() - begin))
            if len(times) >= 5 and sum(times) > 1000 * seconds:
                break
    return median(times)
