"""PA&DA, the paths: options are drawn by the size of their gradients.

Paper: PA&DA: Jointly Sampling PAth and DAta for Consistent NAS (2023, https://arxiv.org/abs/2302.14772); checked against
ShunLu91/PA-DA, nasbench201/train_panda_201.py.

We differ: every field has odds of its own, where the authors' code has one set for all edges of a cell; an option that was not drawn between two
renewals counts as the average of those that were, not as 0.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import BadParameter
from ..elastic import Elastic, Values
from ..sampler import Sampler


class ImportantPaths(Sampler):
    """p(option) = tau * norm / sum of norms + (1 - tau) / options, with tau the share of the training that is done.

    norm is the sum of the gradient norms of the tensors that the field concerns when the option was trained, averaged with what was seen
    before by halves, and collected anew after each renewal. Odds in proportion to gradient norms are those of least gradient variance.

    Args:
        every: draws between two renewals of the odds; an epoch in the paper.

    Raises:
        BadParameter: `every` is less than 1.

    >>> import torch
    >>> from loomweight.supernet import SinglePath, elastic
    >>> net = elastic(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)), "width 0 : 2 4 8", torch.zeros(1, 4))
    >>> sampler = ImportantPaths(every=2)
    >>> step = SinglePath(loss=torch.nn.functional.cross_entropy, sampler=sampler, total=4)
    >>> for _ in range(4):
    ...     net.zero_grad()
    ...     loss = step(net, torch.ones(3, 4), torch.tensor([0, 1, 1]))
    >>> round(sum(sampler.odds["width 0"]), 6)
    1.0
    """

    uses_done = True
    uses_gradients = True

    def __init__(self, every: int) -> None:
        if every < 1:
            raise BadParameter(f"odds are renewed after at least 1 draw, found every={every}.")
        self.every = every
        self.odds: dict[str, list[float]] = {}
        self.norms: dict[str, list[float | None]] = {}
        self.told_of, self.tau = 0, 0.0

    def draw(self, net: Elastic, random: np.random.Generator, done: float) -> Values:
        """See the class."""
        self.tau = done
        values = {}
        for name, dimension in net.space.dimensions.items():
            options = dimension.options  # type: ignore[attr-defined]
            odds = self.odds.setdefault(name, [1 / len(options)] * len(options))
            self.norms.setdefault(name, [None] * len(options))
            values[name] = options[int(random.choice(len(options), p=odds))]
        return net.space.canonical(values)

    def told(self, values: Values, loss: float, net: Elastic) -> None:
        """Note the gradient norms; renew the odds where it is time."""
        for name in net.space.matters(values):
            position = net.space.dimensions[name].options.index(values[name])  # type: ignore[attr-defined]
            norm = sum(float(leaf.tensor.grad.norm()) for one in net.concerned(name) for leaf in one.with_gradient() if leaf.tensor.grad is not None)
            before = self.norms[name][position]
            self.norms[name][position] = norm if before is None else (before + norm) / 2
        self.told_of += 1
        if self.told_of % self.every == 0:
            self.odds = {name: renewed(norms, self.tau) for name, norms in self.norms.items()}
            self.norms = {name: [None] * len(norms) for name, norms in self.norms.items()}

    def state_dict(self) -> dict[str, Any]:
        """Odds, norms since the last renewal, how many were trained."""
        norms = {name: list(found) for name, found in self.norms.items()}
        return {"odds": {name: list(odds) for name, odds in self.odds.items()}, "norms": norms, "told_of": self.told_of}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Sampler`."""
        if set(state) != {"odds", "norms", "told_of"}:
            raise BadParameter(f"this is no state of ImportantPaths: it holds {', '.join(map(repr, state)) or 'nothing'}.")
        self.odds = {name: list(odds) for name, odds in state["odds"].items()}
        self.norms = {name: list(norms) for name, norms in state["norms"].items()}
        self.told_of = int(state["told_of"])

    def __repr__(self) -> str:
        return f"ImportantPaths(every={self.every})"


def renewed(norms: list[float | None], tau: float) -> list[float]:
    """Odds in proportion to norms, mixed with equal ones.

    >>> renewed([3.0, 1.0], 1.0), renewed([3.0, 1.0], 0.5), renewed([None, 4.0], 1.0)
    ([0.75, 0.25], [0.625, 0.375], [0.5, 0.5])
    """
    known = [norm for norm in norms if norm is not None]
    filled = np.array([sum(known) / max(len(known), 1) if norm is None else norm for norm in norms])
    if not filled.sum() > 0:
        return [1 / len(norms)] * len(norms)
    odds = tau * filled / filled.sum() + (1 - tau) / len(norms)
    return (odds / odds.sum()).tolist()
