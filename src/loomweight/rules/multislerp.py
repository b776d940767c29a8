"""Multi-SLERP: the normalised mean direction of several sets, at their mean length.

Source: Multi-SLERP, a blog post (https://goddard.blog/posts/multislerp-wow-what-a-cool-idea) and mergekit's method of that name.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import BadParameter
from ..shapes import Float64
from ..weights import Weights
from .around import Around
from .per import Per
from .rule import Rule, Weighing

_CANCELS = 1e-3


@dataclass(frozen=True)
class MultiSlerp(Weighing):
    """The normalised mean direction of the sets, at their mean length.

    (sum_i a_i |w_i|) m / |m|, with m = sum_i a_i w_i / |w_i|. The source goes from m / |m| along the tangent sum_i a_i (u_i
    - <u_i, m> m / |m|^2) of the unit vectors u_i. That tangent is 0 by the choice of m, so the formula above is all of it.
    A set of length 0 has no direction and counts for the length alone. Where the directions cancel (|m| below 1e-3 of the
    sum of |a_i|) the result is sum_i a_i w_i. Breakdown point 0 in direction and in length.

    Args:
        weights: a_i; None is 1 for each.
        normalize: divide them by their sum.

    Raises:
        BadParameter: weights that sum to 0 and are to be normalized.

    >>> from loomweight.rules import combine
    >>> combine([{"w": torch.tensor([2.0, 0.0])}, {"w": torch.tensor([0.0, 4.0])}], MultiSlerp())["w"]  # 3 at 45 degrees
    tensor([2.1213, 2.1213])
    """

    weights: tuple[float, ...] | None = None
    normalize: bool = True

    def check(self, n: int) -> None:
        """Raise for a wrong number of weights, or weights that cannot be normalized."""
        super().check(n)
        if self.normalize and self.weights is not None and abs(sum(self.weights)) < 1e-12:
            raise BadParameter(f"{self}: the weights sum to {sum(self.weights):g}, so they cannot be normalized.")

    def coefficients(self, gram: Float64[Tensor, "n n"]) -> Float64[Tensor, " n"]:
        """The factor of each set."""
        weight = np.asarray(self.weights or (1.0,) * len(gram), dtype=np.float64)
        weight = weight / weight.sum() if self.normalize else weight
        lengths = np.sqrt(gram.numpy().diagonal().clip(min=0))
        pull = np.where(lengths > 0, weight / np.where(lengths > 0, lengths, 1), 0)
        strength = np.sqrt(max(pull @ gram.numpy() @ pull, 0))
        if strength <= _CANCELS * np.abs(weight).sum():
            return torch.from_numpy(weight)
        return torch.from_numpy(weight @ lengths / strength * pull)


def multislerp(weights: tuple[float, ...] | None = None, base: Weights | None = None, normalize: bool = True) -> Rule:
    """Multi-SLERP of every tensor alone; with a base, of the differences from it.

    Args:
        weights: one a set; None is 1 for each.
        base: the origin of the sphere.
        normalize: divide the weights by their sum.

    >>> multislerp((1.0, 2.0))
    Per(by='tensor', rule=MultiSlerp(weights=(1.0, 2.0), normalize=True))
    """
    inner = MultiSlerp(weights, normalize)
    return Per("tensor", Around(base, inner) if base is not None else inner)
