"""RegMean: each linear layer solved so that its outputs match those of every model on that model's own inputs.

Paper: Dataless Knowledge Fusion by Merging Weights of Language Models (2022, https://arxiv.org/abs/2212.09849), equation 2.
Original code: https://github.com/bloomberg/dataless-model-merging at 92247aec.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import torch
from torch import Tensor

from ..errors import BadParameter, NonFinite, ShapesDiffer
from ..shapes import Float
from ..weights import Block, Weights
from .proof import known, match
from .rule import Opener, Rule
from .sets import Sets


@dataclass(frozen=True)
class RegMean(Rule):
    """W = (sum_i G_i)^-1 sum_i G_i W_i for W of shape (in, out), G_i = X_i^T X_i with its off-diagonal times `keep`.

    Solved around the mean, W = M + (sum G)^-1 sum G_i (W_i - M), in float64. Tensors without a Gram matrix are averaged.

    Args:
        grams: per model the (in, in) Gram matrix of each linear layer's inputs, named after its weight
            (`loomweight.evidence.input_grams`).
        keep: factor of the off-diagonal entries, in [0, 1]; the paper uses 0.9 to 1.
        layout: "linear" for weights stored (out, in), "conv1d" for (in, out) as in GPT-2.
        axes: weight -> the axis that meets its input, for models that hold both kinds (`loomweight.evidence.input_axes`); what it
            does not name is as `layout` says.

    Raises:
        BadParameter: `keep`, `layout` or an axis out of range, or no layer with evidence.
        ShapesDiffer: a Gram matrix does not fit its weight.

    >>> from loomweight.rules import combine
    >>> grams = tuple(Weights.of({"w": x * torch.eye(2)}) for x in (1.0, 3.0))
    >>> combine([{"w": torch.tensor([[1.0, 2.0]])}, {"w": torch.tensor([[5.0, 2.0]])}], RegMean(grams))["w"]  # (1 + 3 * 5) / 4
    tensor([[4., 2.]])
    """

    grams: tuple[Weights, ...]
    keep: float = 0.9
    layout: Literal["linear", "conv1d"] = "linear"
    axes: Mapping[str, int] = field(default_factory=dict)

    def check(self, n: int) -> None:
        """Raise unless there is evidence for each set."""
        super().check(n)
        match(self, self.grams, n)
        if not 0 <= self.keep <= 1 or self.layout not in ("linear", "conv1d"):
            raise BadParameter(f"RegMean: keep must lie in [0, 1] and layout be linear or conv1d, found {self.keep} and {self.layout!r}.")
        if odd := {name: axis for name, axis in self.axes.items() if axis not in (0, 1)}:
            raise BadParameter(f"RegMean: the axis that meets a weight's input is 1 (linear) or 0 (conv1d), found {odd}.")

    def restricted(self, kept: Sequence[int], n: int) -> Self:
        """Evidence follows the sets."""
        return replace(self, grams=tuple(self.grams[i] for i in kept))

    def bind(self, sets: Sets) -> Opener:
        """Solve a layer when its weight is opened: n weights and Gram matrices of memory."""
        self.check(len(sets))
        sets.refuse_mask(self)
        linear = known(self, self.grams, sets, "mean", same_shape=False)
        if not linear:
            raise BadParameter("RegMean: the evidence names no tensor of these sets; it must be named after the weights.")
        for name in linear:
            self._fits(name, sets.spec(name).shape)

        def open_(name: str) -> Block:
            stack = sets.open(name)
            if name not in linear:
                return lambda lo, hi: stack(lo, hi).mean(0)
            shape = sets.spec(name).shape
            flat = self._solve(name, stack(0, shape[0] * shape[1]).reshape(len(sets), *shape)).reshape(-1)
            return lambda lo, hi: flat[lo:hi]

        return open_

    def _fits(self, name: str, shape: tuple[int, ...]) -> None:
        axis = self._axis(name)
        for gram in self.grams:
            width = shape[axis] if len(shape) == 2 else None
            if gram.spec[name].shape != (width, width):
                found = f"found {gram.spec[name].shape} (its input on axis {axis}, layout={self.layout!r})"
                other = len(shape) == 2 and gram.spec[name].shape == (shape[1 - axis],) * 2
                hint = "; it fits the other axis: give axes=input_axes(model), or in a recipe a layout with a filter" if other else ""
                raise ShapesDiffer(f"tensor {name!r} of shape {shape} needs a Gram matrix of {(width, width)}, {found}{hint}.")

    def _axis(self, name: str) -> int:
        """The axis of a weight that meets its input."""
        return self.axes.get(name, 1 if self.layout == "linear" else 0)

    def _solve(self, name: str, stack: Float[Tensor, "n a b"]) -> Float[Tensor, "a b"]:
        linear = self._axis(name) == 1
        weights = (stack.transpose(1, 2) if linear else stack).double()
        mean = weights.mean(0)
        grams = torch.stack([gram[name].double() for gram in self.grams])
        if not torch.isfinite(grams).all():
            raise NonFinite(f"the Gram matrix of tensor {name!r} holds NaN or Inf.")
        diagonal = torch.diag_embed(grams.diagonal(dim1=1, dim2=2))
        grams = self.keep * grams + (1 - self.keep) * diagonal
        total = grams.sum(0)
        moved = (grams @ (weights - mean)).sum(0)
        solved = mean + torch.linalg.lstsq(total, moved, driver="gelsd").solution
        return (solved.T if linear else solved).to(stack.dtype)
