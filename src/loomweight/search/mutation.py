"""Local mutation search: try neighbours of the best so far, and nothing else.

Paper: Mutation is all you need (2021, https://arxiv.org/abs/2107.07343).

The paper finds that BANANAS owes its success to the optimizer of its acquisition function, which changes the incumbent in one place,
and not to its surrogate model. This is that part alone: random configurations first, then one mutation of the best one, never the same
one twice. We differ: where all neighbours have been tried, the mutation is taken one step further, so that the search does not stand
still; the paper's spaces are too large for that to happen.
"""

from dataclasses import dataclass

from ..errors import BadParameter
from .sampler import Past, Sampler, key_of
from .space import Values

#: mutations drawn before going a step further away
_TRIES = 32


@dataclass(frozen=True)
class LocalMutation(Sampler):
    """Mutate the incumbent, the best trial so far (the earliest of equals), in one field that matters.

    Args:
        start: random configurations before the first mutation.

    Raises:
        BadParameter: there is no random configuration to start from.

    >>> from loomweight.search import Ordered, Space, Study
    >>> space = Space({f"width{i}": Ordered((8, 16, 32, 64)) for i in range(4)})
    >>> Study(space, sampler=LocalMutation(start=5)).run(lambda v: sum(v.values()), 40).best.values
    (256.0,)
    """

    start: int = 10

    def __post_init__(self) -> None:
        if self.start < 1:
            raise BadParameter(f"{self} needs at least 1 random configuration to start from.")

    def propose(self, past: Past) -> Values:
        """A random configuration at first, then a neighbour of the incumbent."""
        known = past.finished
        if len(past.trials) < self.start or not known:
            return past.space.sample(past.draw)
        tried = {key_of(trial.parameters) for trial in past.trials}
        child = incumbent = max(known, key=past.score).parameters
        for attempt in range(4 * _TRIES):
            child = past.space.mutate(child if attempt and attempt % _TRIES == 0 else incumbent, past.draw)
            if key_of(child) not in tried:
                break
        return child
