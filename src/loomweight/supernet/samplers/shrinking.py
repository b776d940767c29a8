"""Progressive shrinking: fields become elastic one after the other, their largest options first.

Paper: Once-for-All: Train One Network and Specialize it for Efficient Deployment (2019, https://arxiv.org/abs/1908.09791), progressive shrinking;
checked against mit-han-lab/once-for-all, train_ofa_net.py: kernel sizes, then depth in two phases, then widths in two phases.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np

from ...errors import BadParameter, UnknownName
from ..elastic import Elastic, Values
from ..sampler import Sampler


class Shrinking(Sampler):
    """In each phase, the fields opened so far are drawn uniformly among the options that are open; the others stay at their largest.

    Args:
        phases: (share of the training at which it ends, pattern of fields -> how many of their largest options are open; None for all). What a phase
            does not name stays as it was before. The last phase ends at 1. An empty first phase trains the largest subnet alone.

    Raises:
        BadParameter: phases do not end one after the other, the last one at 1, or a phase opens nothing.
        UnknownName: a pattern names no field, when a subnet is drawn.

    >>> import torch
    >>> from loomweight.supernet import elastic
    >>> net = elastic(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)), "width 0 : 2 4 8", torch.zeros(1, 4))
    >>> sampler = Shrinking([(0.2, {}), (0.5, {"width *": 2}), (1.0, {"width *": None})])
    >>> [sampler.open(net, done)["width 0"] for done in (0.0, 0.3, 0.9)]
    [(8,), (4, 8), (2, 4, 8)]
    """

    uses_done = True

    def __init__(self, phases: Sequence[tuple[float, Mapping[str, int | None]]]) -> None:
        self.phases = [(float(until), dict(opened)) for until, opened in phases]
        ends = [until for until, _ in self.phases]
        if not ends or ends[-1] != 1 or any(not before < after for before, after in zip([0.0, *ends], ends, strict=False)):
            raise BadParameter(f"phases end one after the other at shares of the training, the last one at 1; found {ends}.")
        if any(not opened for _, opened in self.phases[1:]):
            raise BadParameter("a phase after the first opens no field, so it would have no effect; leave it out.")
        if few := [count for _, opened in self.phases for count in opened.values() if count is not None and count < 1]:
            raise BadParameter(f"at least the largest option of a field is open, found {few[0]} options.")

    def open(self, net: Elastic, done: float) -> dict[str, tuple[object, ...]]:
        """The options of every field that are drawn from when so much of the training is done."""
        found = {name: dimension.options for name, dimension in net.space.dimensions.items()}  # type: ignore[attr-defined]
        counts: dict[str, int | None] = dict.fromkeys(found, 1)
        for number, (_, opened) in enumerate(self.phases):
            if number and done < self.phases[number - 1][0]:
                break
            for pattern, count in opened.items():
                matched = [name for name in found if fnmatchcase(name, pattern)]
                if not matched:
                    raise UnknownName(f"phase {number + 1} opens {pattern!r}, which names no field; there are: {', '.join(found)}.")
                counts |= dict.fromkeys(matched, count)
        return {name: options[-(counts[name] or len(options)) :] for name, options in found.items()}

    def draw(self, net: Elastic, random: np.random.Generator, done: float) -> Values:
        """See the class."""
        return net.space.canonical({name: options[int(random.integers(len(options)))] for name, options in self.open(net, done).items()})

    def __repr__(self) -> str:
        return f"Shrinking({self.phases!r})"
