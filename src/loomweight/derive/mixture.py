"""A weight that is mixed from several."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ShapesDiffer, TooFewSets


class Mixture(nn.Module):
    """used = sum over k of coefficient k x weight k.

    Args:
        weights: of one shape, the experts: parameters, or derivations of them.
        router: called without arguments for the coefficients (k,) or, one row for each output unit, (out, k); or, when it takes the
            module's inputs, told them before each forward pass by way of `given`. A module is trained with the mixture.
        by_input: the router takes the inputs of the layer; before the first of them all weights count alike.

    Raises:
        TooFewSets: no weight.
        ShapesDiffer: the weights differ in shape.

    >>> halves = Mixture([nn.Parameter(torch.zeros(2)), nn.Parameter(torch.ones(2))], lambda: torch.tensor([0.5, 0.5]))
    >>> halves().tolist()
    [0.5, 0.5]
    """

    def __init__(self, weights: Sequence[Tensor] | Sequence[nn.Module], router: Callable[..., Tensor], *, by_input: bool = False) -> None:
        super().__init__()
        if not weights:
            raise TooFewSets("a mixture needs at least one weight, found none.")
        shapes = [tuple(tensor.shape) for tensor in map(_tensor, weights)]
        if len(set(shapes)) > 1:
            raise ShapesDiffer(f"a mixture is of weights of one shape, found {shapes}.")
        self.experts = nn.ModuleList(weights) if isinstance(weights[0], nn.Module) else nn.ParameterList(weights)  # type: ignore[arg-type]
        self.router = router
        self.coefficients: Tensor | None = None
        if by_input:
            first = _tensor(weights[0])
            self.coefficients = first.new_full((len(weights),), 1 / len(weights))
            self.given = self._given

    def forward(self) -> Tensor:
        """The shape of one expert."""
        coefficients = self.router() if self.coefficients is None else self.coefficients
        return mixed(coefficients, list(map(_tensor, self.experts)))

    def _given(self, *inputs: Tensor) -> None:
        self.coefficients = self.router(*inputs)


def _tensor(expert: Any) -> Tensor:
    return expert.forward() if isinstance(expert, nn.Module) else expert


def mixed(coefficients: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Coefficients (k,) or (out, k) times k weights (out, ...)."""
    columns = coefficients.unbind(-1)
    shape = (-1, *(1,) * (weights[0].ndim - 1)) if coefficients.ndim > 1 else ()
    return torch.stack([column.reshape(shape) * weight for column, weight in zip(columns, weights, strict=True)]).sum(0)
