"""By operator: every option is trained equally often, exactly and not only on average.

Paper: FairNAS: Rethinking Evaluation Fairness of Weight Sharing Neural Architecture Search (2019, https://arxiv.org/abs/1907.01845),
strict fairness.

We differ: fields may have different numbers of options, and fields that do not matter in a configuration use up none of theirs. With
`SinglePath(subnets=m)` on a space whose fields all have m options, a step is FairNAS's: every option once, their gradients added up.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import BadParameter
from ..elastic import Elastic, Values
from ..sampler import Sampler


class ByOperator(Sampler):
    """Options of each field come in random order, and none comes again before all have come: after k rounds each was trained k times.

    >>> import torch
    >>> from loomweight.supernet import elastic
    >>> net = elastic(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)), "width 0 : 2 4 8", torch.zeros(1, 4))
    >>> sampler, random = ByOperator(), np.random.default_rng(0)
    >>> sorted(sampler.draw(net, random, 0.0)["width 0"] for _ in range(3))
    [2, 4, 8]
    """

    def __init__(self) -> None:
        self.left: dict[str, list[int]] = {}

    def draw(self, net: Elastic, random: np.random.Generator, done: float) -> Values:
        """See the class."""
        options = {name: dimension.options for name, dimension in net.space.dimensions.items()}  # type: ignore[attr-defined]
        values = {}
        for name, known in options.items():
            if not self.left.get(name):
                self.left[name] = random.permutation(len(known)).tolist()
            values[name] = known[self.left[name][-1]]
        for name in net.space.matters(values):
            self.left[name].pop()
        return net.space.canonical(values)

    def state_dict(self) -> dict[str, Any]:
        """Positions of the options that are still to come."""
        return {"left": {name: list(positions) for name, positions in self.left.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Sampler`."""
        if set(state) != {"left"}:
            raise BadParameter(f"this is no state of ByOperator: it holds {', '.join(map(repr, state)) or 'nothing'} instead of 'left'.")
        self.left = {name: list(positions) for name, positions in state["left"].items()}

    def __repr__(self) -> str:
        return "ByOperator()"
