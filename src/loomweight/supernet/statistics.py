"""BatchNorm of subnets: every subnet has statistics of its own, computed when it is first evaluated."""

import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BadParameter
from ..weights.axes.find import arguments

Batches = Iterable[Any] | Callable[[], Iterable[Any]]


class Statistics:
    """Running means and variances by subnet.

    They are computed anew when a stored tensor has changed since (every change in place counts up its version).

    Args:
        model: the model whose BatchNorm layers are meant.
        version: a number that grows when stored tensors change.
    """

    def __init__(self, model: nn.Module, version: Callable[[], int]) -> None:
        self.layers = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
        self._model, self._version = model, version
        self._batches: list[Any] | None = None
        self._known: dict[Any, tuple[int, dict[nn.Module, dict[str, Tensor]]]] = {}
        self._warned: set[Any] = set()
        self._shared: dict[nn.Module, dict[str, Tensor | None]] = {}

    def calibrate(self, batches: Batches, count: int | None) -> None:
        """Keep the batches to compute statistics from."""
        taken: list[Any] = []
        for batch in batches() if callable(batches) else batches:
            if count is not None and len(taken) == count:
                break
            taken.append(batch)
        if not taken:
            raise BadParameter("no batch to compute BatchNorm statistics from; give at least one.")
        self._batches = taken
        self._known.clear()

    def put(self, key: Any, *, whole: bool, run: Callable[..., Any]) -> None:
        """Put the statistics of the chosen subnet in place, computed first where they are not known."""
        if not self.layers:
            return
        version = self._version()
        known = self._known.get(key)
        if known is None or known[0] != version:
            if self._batches is None:
                if not whole and key not in self._warned:
                    self._warned.add(key)
                    warnings.warn(
                        "this subnet is evaluated with BatchNorm statistics that are not its own; give batches to `net.calibrate(batches)`, "
                        "and they are computed when a subnet is first evaluated.",
                        stacklevel=4,
                    )
                return
            known = self._known[key] = (version, self._computed(run))
        self._place(known[1])

    def leave(self) -> None:
        """Put the shared buffers back, those that training writes to."""
        for layer, entries in self._shared.items():
            layer._buffers.update(entries)
        self._shared.clear()

    def _place(self, found: Mapping[nn.Module, Mapping[str, Tensor]]) -> None:
        for layer, entries in found.items():
            self._shared.setdefault(layer, {key: layer._buffers[key] for key in entries})
            layer._buffers.update(entries)

    def _computed(self, run: Callable[..., Any]) -> dict[nn.Module, dict[str, Tensor]]:
        fresh: dict[nn.Module, dict[str, Tensor]] = {}
        self.leave()
        for layer in self.layers:
            mean = layer._buffers["running_mean"]
            assert mean is not None
            count = torch.zeros((), dtype=torch.int64, device=mean.device)
            fresh[layer] = {"running_mean": torch.zeros_like(mean), "running_var": torch.ones_like(mean), "num_batches_tracked": count}
        self._place(fresh)
        with _recording(self.layers), torch.no_grad():
            for batch in self._batches or ():
                args, kwargs = inputs_of(batch)
                run(*args, **kwargs)
        return fresh


def inputs_of(batch: Any) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """What of a batch the model takes: of (inputs, labels) the inputs; a dict without its labels."""
    if isinstance(batch, Mapping):
        return (), {key: value for key, value in batch.items() if key not in ("label", "labels")}
    return arguments(batch[0] if isinstance(batch, tuple | list) else batch, None)


@contextmanager
def _recording(layers: list[Any]) -> Any:
    """These layers alone normalise by the batch and average what they see, over all batches alike."""
    before = [(layer, layer.training, layer.momentum) for layer in layers]
    for layer in layers:
        layer.training, layer.momentum = True, None
    try:
        yield
    finally:
        for layer, training, momentum in before:
            layer.training, layer.momentum = training, momentum
