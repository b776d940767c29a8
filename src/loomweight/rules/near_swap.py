"""NearSwap: take over from a second model where the two are close already.

Source: alchemonaut, QuartetAnemoi-70B-t0.0001 (2024, https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001), as in mergekit.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ..errors import BadParameter, TooFewSets
from ..shapes import Float
from .rowwise import Rowwise


@dataclass(frozen=True)
class NearSwap(Rowwise):
    """For two sets (a, b): c b + (1 - c) a with c = min(1, t / |a - b|): entries closer than t become b's.

    Args:
        t: the distance up to which b is taken whole; not negative.

    >>> import torch
    >>> NearSwap(t=1.0)(torch.tensor([[0.0, 0.0], [0.5, 4.0]]))
    tensor([0.5000, 1.0000])
    """

    t: float

    def __post_init__(self) -> None:
        if not self.t >= 0:
            raise BadParameter(f"NearSwap: t must be at least 0, found {self.t}.")

    def check(self, n: int) -> None:
        """Raise for other than two sets."""
        super().check(n)
        if n != 2:
            raise TooFewSets(f"{self} takes two weight sets, got {n}.")

    def combined(self, rows: Sequence[Float[Tensor, " p"]]) -> Float[Tensor, " p"]:
        """a + clip(b - a, -t, t): the same formula without a division."""
        first, second = rows
        return (second - first).clamp_(-self.t, self.t).add_(first)
