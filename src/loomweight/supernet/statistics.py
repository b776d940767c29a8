"""BatchNorm of subnets: every subnet has statistics of its own, computed when it is first evaluated."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BadParameter
from ..weights.axes.find import arguments

#: entries of a piece of an activation
_PIECE = 1 << 17

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
        self._mixed = False

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
                if (self._mixed or not whole) and key not in self._warned:
                    self._warned.add(key)
                    warnings.warn(
                        "this subnet is evaluated with BatchNorm statistics that are not its own; give batches to `net.calibrate(batches)`, "
                        "and they are computed when a subnet is first evaluated.",
                        stacklevel=4,
                    )
                return
            known = self._known[key] = (version, self._computed(run))
        self._place(known[1])

    def mix(self) -> None:
        """A smaller subnet is trained: from now on not even the largest finds its own statistics in the shared buffers."""
        self._mixed = self._mixed or any(layer.training for layer in self.layers)

    def forget(self) -> None:
        """Nothing is known any more: tensors have another type or place, or have changed without counting up their version."""
        self._known.clear()

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
        with _recording(fresh), torch.no_grad():
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
def _recording(fresh: Mapping[nn.Module, dict[str, Tensor]]) -> Iterator[None]:
    """Each layer normalises by what it is given, and in the end has the averages over all batches in its entries of `fresh`.

    As torch's training mode with `momentum=None`, in about half its time on processors: means of a layer's input by sums along contiguous
    axes, then the layer itself in evaluation mode.
    """
    seen = {layer: [entries[key].clone() for key in ("running_mean", "running_var")] for layer, entries in fresh.items()}

    def look(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        entries, (means, variances) = fresh[layer], seen[layer]
        x = inputs[0].detach()
        mean, squares, n = _moments(x)
        count = entries["num_batches_tracked"].add_(1)
        means.lerp_(mean.to(means), 1 / count.item())
        variances.lerp_((squares / max(n - 1, 1)).to(variances), 1 / count.item())
        layer._buffers.update(running_mean=mean.to(means), running_var=(squares / n).to(variances))

    hooks = [layer.register_forward_pre_hook(look) for layer in fresh]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for layer, (means, variances) in seen.items():
            fresh[layer]["running_mean"].copy_(means)
            fresh[layer]["running_var"].copy_(variances)


def _moments(x: Tensor) -> tuple[Tensor, Tensor, int]:
    """Mean of each channel, sum of squares around it, and their number; float32, in pieces that stay in the cache."""
    others = [axis for axis in range(x.ndim) if axis != 1]
    n = x.numel() // x.shape[1]
    pieces = x.split(max(1, _PIECE * len(x) // max(x.numel(), 1)))
    mean = torch.stack([piece.float().sum(others) for piece in pieces]).sum(0) / n
    centre, scratch = mean.view(-1, *(1,) * (x.ndim - 2)), torch.empty_like(pieces[0], dtype=torch.float32)
    squares = torch.zeros_like(mean)
    for piece in pieces:
        squares += torch.sub(piece, centre, out=scratch[: len(piece)]).square_().sum(others)
    return mean, squares, n
