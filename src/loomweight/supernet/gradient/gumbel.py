"""One option at a time, drawn by the alphas, with a gradient.

Paper: Searching for A Robust Neural Architecture in Four GPU Hours (2019, https://arxiv.org/abs/1910.04465), equations 3 to 5.

The authors' code also adds the coefficients of the options that do not run to the output, as numbers: they are 0, and the gradient that
this gives them (the sum of the output's gradient) has no meaning; it is left out.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import BadParameter
from .coefficients import Coefficients, Field, hardened


@dataclass(frozen=True)
class Gumbel(Coefficients):
    """soft = softmax((log softmax(alpha) + gumbel noise) / temperature); the largest is 1, the others 0, and the gradient is that of `soft`.

    Of a field that keeps several options (the inputs of a node) the largest `count` are 1: Gumbel-Top2, without replacement.

    Args:
        start, end: the temperature at the beginning and at the end of a search, linear between.

    >>> draws = [Gumbel().draw(torch.zeros(3), Field("op", ("a", "b", "c")), torch.Generator().manual_seed(s), 0.0).tolist() for s in range(4)]
    >>> all(sorted(draw) == [0.0, 0.0, 1.0] for draw in draws)
    True
    """

    start: float = 10.0
    end: float = 0.1

    def __post_init__(self) -> None:
        if not (self.start > 0 and self.end > 0):
            raise BadParameter(f"temperatures are above 0, found {self.start} to {self.end}.")

    def draw(self, alpha: Tensor, field: Field, random: torch.Generator, done: float) -> Tensor:
        """Zeros and ones."""
        noise = -torch.empty(alpha.shape, dtype=alpha.dtype).exponential_(generator=random).clamp_min(1e-20).log().to(alpha.device)
        temperature = self.start + (self.end - self.start) * done
        return hardened(((alpha.log_softmax(-1) + noise) / temperature).softmax(-1), field.count)

    def mean(self, alpha: Tensor, field: Field) -> Tensor:
        """1 for the likeliest."""
        return hardened(alpha.softmax(-1), field.count)
