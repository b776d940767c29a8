"""Groups of clients take turns.

Paper: On the Convergence of Federated Averaging with Cyclic Client Participation (2023, https://arxiv.org/abs/2302.03109), section 3: clients are divided
into groups, the groups are there one after the other, and in a round some clients of the group are asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from numpy.random import Generator

from ...errors import BadParameter
from .choose import Choose, Everyone


@dataclass(frozen=True)
class Cyclic(Choose):
    """Round t asks clients of group  t mod `groups`.

    Clients are divided in their order, into groups whose sizes differ by at most one. All are idle at the start of a round; with an aggregate that
    asks one by one, groups are of those that are idle then.

    Args:
        groups: how many.
        among: who of the group is asked.

    Raises:
        BadParameter: no group.

    >>> import numpy as np
    >>> [Cyclic(2).choose(number, ["a", "b", "c"], np.random.default_rng(0)) for number in range(3)]
    [['a', 'b'], ['c'], ['a', 'b']]
    """

    groups: int
    among: Choose = field(default_factory=Everyone)

    def __post_init__(self) -> None:
        if self.groups < 1:
            raise BadParameter(f"{self}: there is at least one group.")

    def choose(self, number: int, idle: Sequence[str], draw: Generator) -> Sequence[str]:
        """Of the group whose turn it is; the groups are at most as many as the clients."""
        groups = min(self.groups, len(idle))
        turn, small, larger = number % groups, len(idle) // groups, len(idle) % groups
        begin = turn * small + min(turn, larger)
        return self.among.choose(number, idle[begin : begin + small + (turn < larger)], draw)

    def concurrent(self, clients: int) -> int:
        """As many as the choice in the largest group has."""
        return self.among.concurrent(-(-clients // self.groups))
