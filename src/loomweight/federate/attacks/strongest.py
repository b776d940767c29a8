"""The factor with which an attack moves a defence the most, by a short line search."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from ...rules import Rule, combine
from ..guard import finite
from ..plain import Reply, Tensors
from .forging import forged


@dataclass(frozen=True)
class Search:
    """A search over factors: steps that double while they help, then shrinking ones.

    Args:
        tries: how often the defence is tried.
        start: the first factor.
        step: the first step.
        shrink: what a step is multiplied with when it did not help.
    """

    tries: int = 20
    start: float = 0.0
    step: float = 10.0
    shrink: float = 0.8

    def largest(self, value: Callable[[float], float]) -> float:
        """The best factor met.

        >>> Search().largest(lambda x: -((x - 70) ** 2))  # 0, 10, 30, 70, and no farther
        70.0
        """
        best, step, growing = self.start, self.step, True
        reached = value(best)
        for _ in range(self.tries - 1):
            tried = value(best + step)
            better = tried > reached
            best, reached = (best + step, tried) if better else (best, reached)
            growing = growing and better
            step *= 2 if growing else self.shrink
        return best


def strongest(own: Reply, honest: Sequence[Tensors], at: Callable[[Tensor, float], Tensor], defence: Rule, attackers: int, search: Search) -> Reply:
    """The reply forged with the factor for which the defence ends farthest from the honest mean, all attackers sending the same.

    Updates with NaN or Inf, which no server takes, are not looked at; where all are like that, as in a run that has fallen apart, the reply is its own.
    """
    seen = [update for update in honest or [own.update] if all(finite(tensor) for tensor in update.values())]
    if not seen:
        return own
    middle = forged(own, seen, lambda stack: stack.mean(0)).update

    def sent(factor: float) -> Reply:
        return forged(own, seen, lambda stack: at(stack, factor))

    def moved(factor: float) -> float:
        pooled = combine([*seen, *[sent(factor).update] * attackers], defence, nonfinite="drop", integers="first")
        names = [name for name, tensor in middle.items() if tensor.is_floating_point()]
        return sum(float((pooled[name].double() - middle[name].double()).square().sum()) for name in names)

    return sent(search.largest(moved))
