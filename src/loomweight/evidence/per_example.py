"""Squared gradients of every single example: not the square of a batch's gradient, which cancels what differs.

The rows of an example are numbers v_1 ... v_K that depend on the parameters; what is collected is

    sum over examples, sum over k of (d v_k / d parameter)^2.

Vectorized over examples by torch.func where the model allows it and is small enough for several gradients to be held at once;
else example by example, which costs no more on a CPU. A model that should vectorize and does not is named once.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import LoomweightError
from . import batches
from .gradients import Called

#: (the model, a batch of one example, what belongs to it) -> rows of K numbers
Rows = Callable[[nn.Module, Any, Tensor], Tensor]
#: room for the gradients of several examples: on a CPU they should not leave the cache far behind
_BYTES = {"cpu": 1 << 25}
_BYTES_ELSEWHERE = 1 << 30


class SquaredGradients:
    """Sums of squared gradients of `rows`, for batches of examples.

    Args:
        model: its floating parameters are differentiated, frozen ones too; shared ones once, with all their uses.
        parameters: them, by name.
        rows: see above.
    """

    def __init__(self, model: nn.Module, parameters: dict[str, Tensor], rows: Rows) -> None:
        self.called = Called(model, rows)
        self.parameters = parameters
        each = sum(parameter.numel() * parameter.element_size() for parameter in parameters.values())
        room = _BYTES.get(next((parameter.device.type for parameter in parameters.values()), "cpu"), _BYTES_ELSEWHERE)
        self.at_once = max(1, room // max(1, 4 * each))
        self.vectorized = self.at_once > 1

    def __call__(self, batch: Any, extras: Tensor) -> dict[str, Tensor]:
        """The sums over the batch, in the parameters' dtypes or float32, whichever is wider."""
        total: dict[str, Tensor] = {}
        leaves = batches.tensors(batch)
        step = self.at_once if self.vectorized else 1
        lo = 0
        while lo < len(extras):
            found = self._some(batch, [leaf[lo : lo + step] for leaf in leaves], extras[lo : lo + step])
            if found is None:
                step = 1
                continue
            for name, squares in found.items():
                total[name] = total[name].add_(squares) if name in total else squares
            lo += step
        return total

    def _some(self, batch: Any, leaves: Sequence[Tensor], extras: Tensor) -> dict[str, Tensor] | None:
        """The sums over a few examples, or None where the model has just turned out not to vectorize."""
        if not self.vectorized:
            return self._single(batch, leaves, extras[0])
        try:
            return self._vectorized(batch, leaves, extras)
        except LoomweightError:
            raise
        except Exception as error:  # noqa: BLE001  torch.func names no class; a fault of the model's own comes again below
            self.vectorized = False
            reason = str(error).strip().partition("\n")[0]
            warnings.warn(f"this model does not vectorize over examples ({reason}); gradients are taken one example at a time.", stacklevel=2)
            return None

    def _vectorized(self, batch: Any, leaves: Sequence[Tensor], extras: Tensor) -> dict[str, Tensor]:
        def one(parts: Sequence[Tensor], extra: Tensor) -> dict[str, Tensor]:
            example = batches.refilled(batch, [part.unsqueeze(0) for part in parts])
            rows, pull, *_ = torch.func.vjp(lambda parameters: self.called.at(parameters, example, extra.unsqueeze(0)), self.parameters)
            unit = torch.eye(len(rows), dtype=rows.dtype, device=rows.device)
            return _summed(pull(row)[0] for row in unit)

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
            squares = torch.func.vmap(one)(tuple(leaves), extras)
        return {name: values.sum(0) for name, values in squares.items()}

    def _single(self, batch: Any, leaves: Sequence[Tensor], extra: Tensor) -> dict[str, Tensor]:
        parameters = {name: parameter.detach().requires_grad_() for name, parameter in self.parameters.items()}
        with torch.enable_grad():
            rows = self.called.at(parameters, batches.refilled(batch, leaves), extra.unsqueeze(0))
            if not rows.requires_grad:
                return {name: _wide(torch.zeros_like(parameter)) for name, parameter in self.parameters.items()}
            gradients = (torch.autograd.grad(row, list(parameters.values()), retain_graph=True, materialize_grads=True) for row in rows)
            return _summed(dict(zip(parameters, some, strict=True)) for some in gradients)


def _summed(gradients: Iterable[dict[str, Tensor]]) -> dict[str, Tensor]:
    total: dict[str, Tensor] = {}
    for gradient in gradients:
        for name, values in gradient.items():
            total[name] = total[name] + _wide(values) ** 2 if name in total else _wide(values) ** 2
    return total


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
