"""Attentive sampling: of several candidates of one cost, the best or the worst is trained.

Paper: AttentiveNAS: Improving Neural Architecture Search via Attentive Sampling (2020, https://arxiv.org/abs/2011.09011), BestUp and
WorstUp; checked against facebookresearch/AttentiveNAS, sampler/attentive_nas_sampler.py and train_attentive_nas.py.

We differ: the table of costs that the authors ship is replaced by measured costs in levels.
"""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ...errors import BadParameter
from ..elastic import Elastic, Values
from ..sampler import Sampler
from .levels import Levels, Measure


@runtime_checkable
class Predicts(Protocol):
    """What says how good configurations are: rows of `space.encode` in, a number for each out; higher is better."""

    def predict(self, x: Any) -> Any:
        """A number for each row."""


class Attentive(Sampler):
    """A target cost is drawn as uniform sampling would cost it; of `candidates` subnets of that cost, the predictor's favourite is trained.

    Args:
        predictor: anything with `predict(x)`, fitted on rows of `net.space.encode(values)`.
        pick: "best" is BestUp, which improves the front as it is; "worst" is WorstUp, which lifts what lags behind.
        candidates: how many are compared.
        levels: costs in the same of so many levels count as the same.
        cost: "params", "flops", "nbytes", "latency_ms", or a function (net, values) -> number. The first and third count; the others run each new subnet.

    Raises:
        BadParameter: fewer than two candidates, or another pick.

    >>> import torch
    >>> from loomweight.search import Ridge
    >>> from loomweight.supernet import elastic
    >>> net = elastic(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)), "width 0 : 2 4 8", torch.zeros(1, 4))
    >>> predictor = Ridge().fit([[0.0], [0.5], [1.0]], [0.7, 0.8, 0.9])
    >>> Attentive(predictor, "best", candidates=20, levels=2).draw(net, np.random.default_rng(1), 0.0)
    {'width 0': 4}
    """

    def __init__(self, predictor: Predicts, pick: str = "best", *, candidates: int = 3, levels: int = 8, cost: Measure = "flops") -> None:
        if candidates < 2:
            raise BadParameter(f"at least 2 candidates are compared, found {candidates}; with one, nothing is picked.")
        if pick not in ("best", "worst"):
            raise BadParameter(f"pick is 'best' or 'worst', found {pick!r}.")
        self.predictor, self.pick, self.candidates = predictor, pick, candidates
        self.levels = Levels(levels, cost)

    def draw(self, net: Elastic, random: np.random.Generator, done: float) -> Values:
        """See the class."""
        level = self.levels.of(net, net.sample(random))
        found = [self.levels.draw(net, level, random) for _ in range(self.candidates)]
        worth = np.asarray(self.predictor.predict(np.stack([net.space.encode(values) for values in found])), dtype=float).reshape(-1)
        if worth.shape != (len(found),) or not np.isfinite(worth).all():
            raise BadParameter(f"the predictor's answer for {len(found)} candidates is {worth.tolist()}; one finite number for each is needed.")
        return found[int(worth.argmax() if self.pick == "best" else worth.argmin())]

    def state_dict(self) -> dict[str, Any]:
        """How to draw from each level; the predictor is the caller's."""
        return self.levels.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Sampler`."""
        self.levels.load_state_dict(state)

    def __repr__(self) -> str:
        return f"Attentive({self.predictor!r}, {self.pick!r}, candidates={self.candidates})"
