"""What a subnet costs."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from ..derive import Quantised
from ..derive.derive import derived_of
from ..derive.quantised import UNROUNDED


@dataclass(frozen=True)
class Cost:
    """Costs of one subnet on the example inputs.

    Args:
        params: entries of its parameters; shared ones count once.
        flops: floating point operations of one forward pass (a multiplication and an addition are two), as torch counts them:
            products of matrices, convolutions, attention.
        nbytes: of its parameters and buffers; a weight in b bits takes b / 8 bytes an entry and a step for each output unit.
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


def size_of_used(model: nn.Module) -> tuple[int, int]:
    """(entries of parameters, bytes) of what a model uses, each tensor once."""
    derived = {id(how): (how, getattr(module, leaf)) for module in model.modules() for leaf, how in derived_of(module).items()}
    inside = {id(tensor) for how, _ in derived.values() for tensor in how.parameters()}
    plain = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers()) if id(tensor) not in inside}
    params = sum(used.numel() for _, used in derived.values()) + sum(tensor.numel() for tensor in plain.values() if isinstance(tensor, nn.Parameter))
    return params, sum(_bytes(how, used) for how, used in derived.values()) + sum(tensor.numel() * tensor.element_size() for tensor in plain.values())


def _bytes(how: nn.Module, used: Tensor) -> int:
    if not isinstance(how, Quantised) or how.bits == UNROUNDED:
        return used.numel() * used.element_size()
    return -(-used.numel() * how.bits // 8) + used.shape[how.axis] * used.element_size()


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
