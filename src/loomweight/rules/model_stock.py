"""Model Stock: from the anchor towards the mean of the fine-tunes, as far as their angle says.

Paper: Model Stock: All we need is just a few fine-tuned models (2024, https://arxiv.org/abs/2403.19522), equations 2 and 5.
We differ: t is kept within [0, 1] unless `extrapolate` is set; the paper takes all angles to be acute and equal.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..shapes import Float64
from ..weights import Weights
from .around import Around
from .per import Per
from .per_vector import PerVector
from .rule import Rule, Weighing

_SINGULAR = 1e-6


@dataclass(frozen=True)
class ModelStock(Weighing):
    """The mean of differences from an anchor, shortened as far as the angles between them say.

    t * mean_i d_i, with t = n c / (1 + (n - 1) c) and c the mean cosine between two of the n differences d_i. For
    differences: wrap it in `Around(anchor, ...)`, and that in `Per`, since the paper's t is one for each layer; the recipe
    `model_stock` does both. Equal differences give their mean (t = 1), orthogonal ones the anchor (t = 0). A difference of
    length 0 has cosine 0 with all others. Breakdown point 0.

    Args:
        extrapolate: let t be negative, away from the mean, where the differences oppose each other (c < 0); there and where
            1 + (n - 1) c vanishes, t is 0 otherwise.

    >>> ModelStock().coefficients(torch.tensor([[1.0, 0.5], [0.5, 1.0]], dtype=torch.float64))  # 60 degrees: t = 2/3
    tensor([0.3333, 0.3333], dtype=torch.float64)
    """

    extrapolate: bool = False

    fewest = 2

    def coefficients(self, gram: Float64[Tensor, "n n"]) -> Float64[Tensor, " n"]:
        """t / n for each set."""
        return self.coefficients_of_each(gram[None])[0]

    def coefficients_of_each(self, grams: Float64[Tensor, "k n n"]) -> Float64[Tensor, "k n"]:
        """t / n for each set, for many Gram matrices at once."""
        n = grams.shape[-1]
        lengths = grams.diagonal(dim1=1, dim2=2).clamp(min=0).sqrt()
        both = lengths[:, :, None] * lengths[:, None, :]
        cosines = torch.where(both > 0, grams / torch.where(both > 0, both, 1.0), 0.0).clamp(-1, 1)
        cosine = (cosines.sum((1, 2)) - cosines.diagonal(dim1=1, dim2=2).sum(1)) / (n * (n - 1))
        below = 1 + (n - 1) * cosine
        t = torch.where(below > _SINGULAR, n * cosine / torch.where(below > _SINGULAR, below, 1.0), 0.0)
        t = t if self.extrapolate else t.clamp(0, 1)
        return (t / n)[:, None].expand(-1, n)


def model_stock(base: Weights, by: Literal["tensor", "layer", "model", "row"] = "tensor", extrapolate: bool = False) -> Rule:
    """Model Stock around a base: one angle for each tensor, layer, or row of a tensor, or one for the model.

    mergekit's `model_stock` is by="tensor" (by="row" with its `filter_wise`), extrapolate=True.

    Args:
        base: the anchor w_0 that all sets were fine-tuned from.
        by: what an angle is measured over.
        extrapolate: see `ModelStock`.

    >>> from loomweight.rules import combine
    >>> zero, x, y = ({"w": torch.tensor(v)} for v in ([0.0, 0.0], [1.0, 0.0], [0.6, 0.8]))
    >>> combine([x, y], model_stock(Weights.of(zero)))["w"]  # c = 0.6, t = 0.75
    tensor([0.6000, 0.3000])
    """
    inner = ModelStock(extrapolate)
    return Around(base, PerVector(inner)) if by == "row" else Per(by, Around(base, inner))
