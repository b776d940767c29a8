"""What is asked of a reply before any arithmetic, and what a refusal leads to."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from numbers import Real
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import BadParameter
from ..weights.names import difference
from .plain import Reply, Tensors

#: why a reply does not count: the client's fault in the first group, its absence in the second
FAULTS = ("names", "shape", "dtype", "nonfinite", "weight", "too-large", "packed", "unknown")
ABSENCES = ("died", "late", "nothing", "old-round", "duplicate")
#: the largest number of examples that is believed: every whole number up to it is a float
LARGEST_WEIGHT = 2.0**53


@dataclass(frozen=True)
class Guard:
    """How a server deals with bad replies and missing clients.

    Args:
        bad: "drop" a bad reply, which is then counted among the `f` bad ones that a robust rule bears, or "stop" the run.
        few: "stop" where fewer replies are left than the aggregate needs, or "skip" the round: the weights stay as they are.
        fewest: replies that a round needs, beyond what the aggregate needs.
        deadline: how long after its start a round waits, in the units of the clock (simulated time, or seconds); None waits for all.
        largest_bytes: of a reply's tensors; None has no limit.
        largest_norm: of a whole update; None has no limit.
        largest_share: of one client in the weight of a round; what is above it is cut.
        stale: rounds that a reply may be behind, where clients are asked one by one; None has no limit.

    Raises:
        BadParameter: a word that is none, or a number out of its range.

    >>> Guard(fewest=0)
    Traceback (most recent call last):
    loomweight.errors.BadParameter: Guard: fewest is at least 1, largest_share in (0, 1], limits are positive and stale is not negative.
    """

    bad: Literal["drop", "stop"] = "drop"
    few: Literal["stop", "skip"] = "stop"
    fewest: int = 1
    deadline: float | None = None
    largest_bytes: int | None = None
    largest_norm: float | None = None
    largest_share: float = 1.0
    stale: int | None = None

    def __post_init__(self) -> None:
        if self.bad not in ("drop", "stop") or self.few not in ("stop", "skip"):
            raise BadParameter(f"Guard: bad is drop or stop and few is stop or skip, found {self.bad!r} and {self.few!r}.")
        limits = (self.deadline, self.largest_bytes, self.largest_norm)
        for name, value in (("fewest", self.fewest), ("stale", self.stale)):
            if isinstance(value, bool) or not isinstance(value, int | None):
                raise BadParameter(f"Guard: {name} is a whole number, found {value!r}.")
        for name in ("deadline", "largest_bytes", "largest_norm", "largest_share"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float | None):
                raise BadParameter(f"Guard: {name} is a number, found {value!r}.")
        if (
            self.fewest is None
            or self.largest_share is None
            or self.fewest < 1
            or not 0 < self.largest_share <= 1
            or any(limit is not None and not limit > 0 for limit in limits)
            or (self.stale or 0) < 0
        ):
            raise BadParameter("Guard: fewest is at least 1, largest_share in (0, 1], limits are positive and stale is not negative.")


@dataclass(frozen=True)
class Refusal:
    """Why a reply does not count.

    Args:
        client: whose it was.
        code: one of `FAULTS` and `ABSENCES`.
        words: what was found.
    """

    client: str
    code: str
    words: str


def refusal(reply: Reply, like: Mapping[str, Tensor], guard: Guard, *, partial: bool = False) -> Refusal | None:
    """What is wrong with an opened reply, or None. Nothing is broadcast, cast or filled in.

    Args:
        reply: with its update opened.
        like: the tensors that the server expects.
        guard: with the limits.
        partial: the update may lack names.
    """
    found = _number(reply) or _form(reply.update, like, partial) or _values(reply, guard)
    return Refusal(reply.client, *found) if found else None


def unreadable(reply: Reply) -> Refusal | None:
    """What is no reply at all, whatever it should hold: looked at before anything is counted or opened.

    >>> unreadable(Reply("ann", 0, {"w": torch.ones(1).to_sparse()})).words
    "tensor 'w' of its update is sparse_coo, not dense"
    """
    extra = reply.extra if isinstance(reply.extra, Mapping) else {}
    groups: list[tuple[str, Any]] = [("its update", reply.update), *((f"what it sends for {key!r}", sent) for key, sent in extra.items())]
    found = next((problem for whose, tensors in groups if (problem := _tensors(whose, tensors))), None)
    if found is None and not isinstance(reply.extra, Mapping):
        found = "names", f"what it sends for the objective is a {type(reply.extra).__name__}, not tensors by name"
    found = found or _metrics(reply.metrics)
    return Refusal(reply.client, *found) if found else None


def _tensors(whose: str, tensors: Any) -> tuple[str, str] | None:
    if not isinstance(tensors, Mapping) or not all(isinstance(name, str) for name in tensors):
        return "names", f"{whose} is a {type(tensors).__name__}, not tensors by name"
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            return "dtype", f"{name!r} of {whose} is a {type(tensor).__name__}, not a tensor"
        if tensor.layout != torch.strided or tensor.is_meta:
            return "dtype", f"tensor {name!r} of {whose} is {'without entries' if tensor.is_meta else str(tensor.layout).removeprefix('torch.')}, not dense"
    return None


def _metrics(metrics: Any) -> tuple[str, str] | None:
    if not isinstance(metrics, Mapping):
        return "names", f"its metrics are a {type(metrics).__name__}, not numbers by name"
    for name, value in metrics.items():
        if not isinstance(name, str) or not isinstance(value, Real) or (isinstance(value, int) and abs(int(value)) > LARGEST_WEIGHT):
            return "dtype", f"its metric {str(name)[:50]!r} is {str(value)[:50]!r}, not a number"
    return None


def _number(reply: Reply) -> tuple[str, str] | None:
    weight = reply.weight
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= LARGEST_WEIGHT:
        return "weight", f"its weight is {str(weight)[:50]}, not a number from 0 to 2^53"
    return None


def _form(update: Tensors, like: Mapping[str, Tensor], partial: bool) -> tuple[str, str] | None:
    if set(update) - set(like) or (not partial and set(like) - set(update)):
        return "names", f"its tensors are not those that were asked for ({difference(like, update)})"
    for name, tensor in update.items():
        expected = like[name]
        if tensor.shape != expected.shape:
            return "shape", f"tensor {name!r} has shape {list(tensor.shape)} instead of {list(expected.shape)}"
        if tensor.dtype != expected.dtype:
            return "dtype", f"tensor {name!r} is {_word(tensor.dtype)} instead of {_word(expected.dtype)}"
    return None


def _values(reply: Reply, guard: Guard) -> tuple[str, str] | None:
    square = 0.0
    groups = [("", reply.update), *((f" of {key}", extra) for key, extra in reply.extra.items())]
    for whose, tensors in groups:
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not finite(tensor):
                return "nonfinite", f"tensor {name!r}{whose} holds NaN or Inf"
    if guard.largest_norm is not None:
        square = sum(float(tensor.double().square().sum()) for tensor in reply.update.values() if tensor.is_floating_point())
        if square > guard.largest_norm**2:
            return "too-large", f"its update has norm {square**0.5:.4g}, the limit is {guard.largest_norm:g}"
    return None


def finite(tensor: Tensor) -> bool:
    """Whether every entry is: one sum, and a closer look only where that is not."""
    return isfinite(tensor.sum(dtype=torch.float32 if tensor.dtype.itemsize < 4 else None).item()) or bool(torch.isfinite(tensor).all())


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
