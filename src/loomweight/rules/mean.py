"""Model soups (uniform and weighted): the arithmetic mean.

Papers: Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing inference time
(2022, https://arxiv.org/abs/2203.05482); Fusing finetuned models for better pretraining (2022,
https://arxiv.org/abs/2204.03044).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import BadParameter
from ..shapes import Float
from .mix import mixed
from .rule import Opener, Pointwise
from .sets import Sets


@dataclass(frozen=True)
class Mean(Pointwise):
    """sum_i a_i w_i / sum_i a_i, or sum_i a_i w_i with `normalize=False`. Breakdown point 0: one bad set moves it anywhere.

    Args:
        weights: a_i, one a set; None is 1 for each.
        normalize: divide by their sum.

    >>> Mean()(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    tensor([2., 4.])
    >>> Mean(weights=(3, 1))(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    tensor([1.5000, 3.0000])
    """

    weights: tuple[float, ...] | None = None
    normalize: bool = True

    def check(self, n: int) -> None:
        """Raise for no set, a wrong number of weights, or weights that sum to 0."""
        super().check(n)
        if self.normalize and self.weights is not None and abs(sum(self.weights)) < 1e-12:
            raise BadParameter(f"{self}: the weights sum to {sum(self.weights):g}, so they cannot be normalized.")

    def coefficients(self, n: int) -> list[float]:
        """The factor of each of n sets."""
        weights = self.weights or (1.0,) * n
        total = sum(weights) if self.normalize else 1.0
        return [weight / total for weight in weights]

    def __call__(self, stack: Float[Tensor, "n *shape"]) -> Float[Tensor, "*shape"]:
        """The mean along the first axis."""
        factors = torch.tensor(self.coefficients(len(stack)), dtype=stack.dtype, device=stack.device)
        return torch.tensordot(factors, stack, dims=1)

    def bind(self, sets: Sets) -> Opener:
        """Mix the sets without stacking them."""
        self.check(len(sets))
        return super().bind(sets) if sets.nonfinite == "mask" else mixed(sets, self.coefficients(len(sets)))
