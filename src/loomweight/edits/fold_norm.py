"""Move what normalizations multiply and add into the layers beside them: the function stays, the norms become plain.

Papers: Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift (2015,
https://arxiv.org/abs/1502.03167), section 3.1: in use it is an affine map of each channel; SliceGPT: Compress Large Language Models
by Deleting Rows and Columns (2024, https://arxiv.org/abs/2401.15024): the weight of a layer or RMS norm goes into the linear layers
behind it. Names and shapes stay, so that the folded set loads into the same model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BadParameter, unknown
from ..weights import Block, Spec, Weights
from .edit import Edit

#: name of a tensor -> the tensor, in float64
_Read = Callable[[str], Tensor]


@dataclass(frozen=True)
class BatchFold:
    """A batch normalization into the layer before it: W' = a W, b' = a b + d with a = gain / sqrt(variance + eps), d = shift - a mean.

    A layer without a bias leaves d as the norm's shift.

    Args:
        weight, axis: the layer's tensor, and its axis of outputs.
        bias, gain, shift: of the layer and the norm, where there are such.
        mean, variance, eps: the norm's.
    """

    weight: str
    axis: int
    bias: str | None
    gain: str | None
    shift: str | None
    mean: str
    variance: str
    eps: float

    def changed(self, read: _Read) -> dict[str, Callable[[], Tensor]]:
        """The new tensors, computed when asked for."""

        def factor() -> Tensor:
            return (read(self.variance) + self.eps).rsqrt() * (1.0 if self.gain is None else read(self.gain))

        def offset() -> Tensor:
            before = 0.0 if self.bias is None else factor() * read(self.bias)
            return before + (0.0 if self.shift is None else read(self.shift)) - factor() * read(self.mean)

        found = {
            self.weight: lambda: read(self.weight) * _along(factor(), self.axis, read(self.weight).ndim),
            self.mean: lambda: torch.zeros_like(read(self.mean)),
            self.variance: lambda: torch.full_like(read(self.variance), 1 - self.eps),
        }
        found |= {self.gain: lambda: torch.ones_like(factor())} if self.gain else {}
        if self.bias is None:
            return found | {str(self.shift): offset}
        return found | {self.bias: offset} | ({self.shift: lambda: torch.zeros_like(factor())} if self.shift else {})


@dataclass(frozen=True)
class GainFold:
    """The gain (and shift) of a norm into the linear layers that read it: W' = W diag(gain), b' = b + W shift, gain' = 1, shift' = 0.

    Where a reader has no bias the shift stays with the norm, as shift / gain.

    Args:
        gain, shift: the norm's; there may be no shift.
        readers: (weight, its axis of inputs, bias or None) of every layer that reads the norm.
    """

    gain: str
    shift: str | None
    readers: tuple[tuple[str, int, str | None], ...]

    def changed(self, read: _Read) -> dict[str, Callable[[], Tensor]]:
        """The new tensors, computed when asked for."""
        found: dict[str, Callable[[], Tensor]] = {self.gain: lambda: torch.ones_like(read(self.gain))}
        for weight, axis, bias in self.readers:
            found[weight] = lambda weight=weight, axis=axis: read(weight) * _along(read(self.gain), axis, read(weight).ndim)
            if self.shift and bias and self._moves:
                found[bias] = lambda weight=weight, axis=axis, bias=bias: read(bias) + read(weight).movedim(axis, -1) @ read(str(self.shift))
        if self.shift:
            found[self.shift] = (lambda: torch.zeros_like(read(self.gain))) if self._moves else (lambda: self._shared(read))
        return found

    @property
    def _moves(self) -> bool:
        return all(bias for _, _, bias in self.readers)

    def _shared(self, read: _Read) -> Tensor:
        gain, shift = read(self.gain), read(str(self.shift))
        if bool(((gain == 0) & (shift != 0)).any()):
            raise BadParameter(f"{self.gain!r} is 0 where {self.shift!r} is not, and a layer behind them has no bias to take it; leave this norm out.")
        return shift / torch.where(gain == 0, 1.0, gain)


@dataclass(frozen=True)
class FoldNorms(Edit):
    """Fold normalizations, one after another. `fold_norms(model, example)` finds all that can be.

    Args:
        folds: what goes where.

    Raises:
        UnknownName: the set lacks a tensor that a fold names.
        BadParameter: a gain of 0 beside a shift that nothing behind it can take.

    >>> w = Weights.of({"norm": torch.tensor([2.0, 0.5]), "up": torch.ones(1, 2)})
    >>> dict(FoldNorms((GainFold("norm", None, (("up", 1, None),)),))(w))
    {'norm': tensor([1., 1.]), 'up': tensor([[2.0000, 0.5000]])}
    """

    folds: tuple[BatchFold | GainFold, ...]

    def over(self, weights: Weights) -> Callable[[str], Block]:
        """Every tensor as the folds before have left it."""
        new: dict[str, Callable[[], Tensor]] = {}
        for fold in self.folds:
            changed = fold.changed(_reader(weights, dict(new)))
            if missing := [name for name in changed if name not in weights]:
                raise unknown("tensor", missing[0], weights.names)
            new |= {weights.ties.get(name, name): make for name, make in changed.items()}
        return lambda name: _opened(new[name](), weights.spec[name]) if name in new else weights.open(name)

    def bind(self, name: str, spec: Spec, read: Block) -> Block:
        """A tensor alone: none of these is one."""
        raise BadParameter(f"{name!r}: norms are folded in a whole set, not tensor by tensor; call the edit on the set.")


def fold_norms(model: nn.Module, example: Any, kwargs: Mapping[str, Any] | None = None) -> FoldNorms:
    """All normalizations of a model that can be folded without changing its function, found by tracing.

    A batch normalization (as in evaluation) behind a layer that feeds nothing else; the gain of a layer norm, an RMS norm, or any
    product with a stored vector whose result is read by linear layers alone. A tensor with other uses is left alone.

    Args:
        model: is left as it was.
        example, kwargs: inputs, as for `axes`.

    Raises:
        BadParameter: the model does not run on the example.

    >>> model = nn.Sequential(nn.LayerNorm(2), nn.Linear(2, 1))
    >>> fold_norms(model, torch.zeros(1, 2)).folds
    (GainFold(gain='0.weight', shift='0.bias', readers=(('1.weight', 1, '1.bias'),)),)
    """
    from .norms_found import found

    return FoldNorms(tuple(found(model, example, kwargs)))


def _reader(weights: Weights, new: Mapping[str, Callable[[], Tensor]]) -> _Read:
    def read(name: str) -> Tensor:
        owner = weights.ties.get(name, name)
        return new[owner]() if owner in new else weights.open(name)(0, weights.spec[name].numel).reshape(weights.spec[name].shape).double()

    return read


def _opened(tensor: Tensor, spec: Spec) -> Block:
    flat = tensor.reshape(-1).to(spec.work)
    return lambda lo, hi: flat[lo:hi]


def _along(vector: Tensor, axis: int, ndim: int) -> Tensor:
    return vector.reshape([-1 if i == axis else 1 for i in range(ndim)])
