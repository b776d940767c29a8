"""Views of weight sets that a plan is made of: chosen tensors under new names, ties put back, blocks on a device."""

from collections.abc import Mapping

import torch

from ..errors import BadParameter
from ..weights import Block, Weights


def picked(weights: Weights, names: Mapping[str, str]) -> Weights:
    """The tensors `names.values()` of a set under the names `names.keys()`; one tensor may appear under several, none shared.

    >>> w = Weights.of({"h.0.w": torch.tensor([1.0]), "h.1.w": torch.tensor([2.0])})
    >>> dict(picked(w, {"h.0.w": "h.1.w", "h.1.w": "h.1.w"}))
    {'h.0.w': tensor([2.]), 'h.1.w': tensor([2.])}
    """
    spec = {new: weights.spec[old] for new, old in names.items()}
    origin = ("picked", weights, *(f"{new}\0{old}" for new, old in names.items()))
    return Weights(spec, lambda new: weights.open(names[new]), origin=origin, label=weights.label, sources=weights.sources)


def ordered(weights: Weights, names: list[str], ties: Mapping[str, str]) -> Weights:
    """The same tensors in this order, with aliases for some of them added."""
    spec = {name: weights.spec[ties.get(name, name)] for name in names}
    origin = ("ordered", weights, *names, *(f"{alias}\0{owner}" for alias, owner in ties.items()))
    return Weights(spec, weights.open, ties=ties, origin=origin, label=weights.label, sources=weights.sources)


def device_of(name: str) -> torch.device:
    """The device of a name, tried out.

    Raises:
        BadParameter: there is no such device here; the message lists those there are.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).to("cpu")
    except (RuntimeError, AssertionError, NotImplementedError, AttributeError) as error:
        raise BadParameter(f"device {name!r} is not available here; there are: {', '.join(devices())}.") from error
    return device


def devices() -> list[str]:
    """Devices of this machine, the CPU first."""
    if not torch.accelerator.is_available():
        return ["cpu"]
    kind = torch.accelerator.current_accelerator()
    return ["cpu", *(f"{kind}:{i}" for i in range(torch.accelerator.device_count()))]


def on(weights: Weights, device: torch.device) -> Weights:
    """The same set with its blocks on a device, so that rules compute there; on the CPU it is the set itself.

    >>> w = Weights.of({"a": torch.ones(2)})
    >>> on(w, torch.device("cpu")) is w
    True
    """
    if device.type == "cpu":
        return weights

    def open_(name: str) -> Block:
        read = weights.open(name)
        return lambda lo, hi: read(lo, hi).to(device)

    return Weights(weights.spec, open_, ties=weights.ties, origin=("on", weights, str(device)), label=weights.label, sources=weights.sources)
