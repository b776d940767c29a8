"""One of the sets, as it is."""

from dataclasses import dataclass

from torch import Tensor

from ..errors import BadParameter
from ..shapes import Float
from .mix import mixed
from .rule import Opener, Pointwise
from .sets import Sets


@dataclass(frozen=True)
class Take(Pointwise):
    """w_index. In a `Route` it hands whole layers of one model over (layer swapping).

    >>> import torch
    >>> Take(1)(torch.tensor([[1.0], [2.0]]))
    tensor([2.])
    """

    index: int = 0

    def check(self, n: int) -> None:
        """Raise where there is no such set."""
        super().check(n)
        if not 0 <= self.index < n:
            raise BadParameter(f"{self}: there are {n} sets, so index must lie in [0, {n - 1}].")

    def __call__(self, stack: Float[Tensor, "n *shape"]) -> Float[Tensor, "*shape"]:
        """That row of the stack."""
        return stack[self.index]

    def bind(self, sets: Sets) -> Opener:
        """Read that set alone."""
        self.check(len(sets))
        return mixed(sets, [float(i == self.index) for i in range(len(sets))])
