"""Several supernets; each configuration finds the one that suits it, and all of them are used alike.

Paper: Balanced Mixture of SuperNets for Learning the CNN Pooling Architecture (2023, https://arxiv.org/abs/2306.11982), section 4 and
algorithm 1.

We differ: the supernets start with the same weights, since a trained model may be one, and part by what they are trained on; odds are
balanced anew at every draw (the authors' code fixes the factors for an epoch), in logarithms, so that no accuracy and no temperature
underflows.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import BadParameter
from ..copies import Copies
from ..elastic import Elastic, Values
from ..sampler import Sampler

#: configurations of a space at most: each has a running accuracy of its own
_MOST = 4096
#: divergence of the usage from the uniform one (Kullback-Leibler, in nats) that is left
_TOLERANCE = 1e-4
_ROUNDS = 10_000


class BalancedMixture(Sampler):
    """Draws a configuration, and one of several supernets to train it in.

    p(m | c) ~ softmax over m of temperature x A[c, m], divided by each supernet's mean over all c and normalised again until all
    supernets are used alike. A[c, m] is a running mean of the accuracy on validation data, measured whenever c was trained in m.

    A configuration that was not just drawn is that of its likeliest supernet: so it is evaluated, searched and exported.

    Args:
        net: gets copies of its weights; optimizers have to be made anew.
        validate: accuracy, from 0 to 1, of the subnet that is chosen in the net: on a batch of validation data, say.
        supernets: how many.
        temperature: at the beginning and at the end of the training, growing linearly.
        decay: of the running mean: new = decay x old + (1 - decay) x accuracy; it begins at 1.
        among: the configurations that are drawn, where not all of the space count: those with two poolings, say. Others are in supernet 0.
        shared: patterns of names that all supernets share.

    Raises:
        BadParameter: fewer than two supernets, a space too large for a table, no configuration, one twice, or a number out of its range.

    >>> import torch
    >>> from loomweight.supernet import elastic
    >>> net = elastic(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)), "width 0 : 2 4 8", torch.zeros(1, 4))
    >>> mixture = BalancedMixture(net, lambda net: 0.5)
    >>> mixture.draw(net, np.random.default_rng(0), done=0.0)
    {'width 0': 8}
    >>> mixture.used.sum(), mixture.probabilities(0.0)[0]
    (np.int64(1), array([0.5, 0.5]))
    """

    uses_done = True

    def __init__(
        self,
        net: Elastic,
        validate: Callable[[Elastic], float],
        supernets: int = 2,
        *,
        temperature: tuple[float, float] = (1.0, 100.0),
        decay: float = 0.9,
        among: Sequence[Values] | None = None,
        shared: Sequence[str] = (),
    ) -> None:
        if supernets < 2 or not 0 <= decay < 1 or min(temperature) < 0:
            raise BadParameter(
                f"a balanced mixture has at least 2 supernets, a decay in [0, 1) and temperatures from 0; "
                f"found supernets={supernets}, decay={decay}, temperature={temperature}."
            )
        self.validate, self.temperature, self.decay = validate, temperature, decay
        self.configurations = _listed(net, among)
        count = len(self.configurations)
        self._place = {tuple(values.values()): i for i, values in enumerate(self.configurations)}
        self.accuracy = np.ones((count, supernets))
        self.used = np.zeros((count, supernets), dtype=np.int64)
        self._drawn, self._done = (-1, 0), 0.0
        self._known: tuple[float, np.ndarray] | None = None
        self.copies = Copies(net, self.supernet, supernets, shared)

    def draw(self, net: Elastic, random: np.random.Generator, done: float) -> Values:
        """See the class."""
        self._done = done
        place = int(random.integers(len(self.configurations)))
        odds = self.probabilities(done)[place]
        self._drawn = place, int(random.choice(len(odds), p=odds / odds.sum()))
        self.used[self._drawn] += 1
        return dict(self.configurations[place])

    def told(self, values: Values, loss: float, net: Elastic) -> None:
        """Measure the accuracy of what was trained; the optimizer's step is still to come."""
        accuracy = float(self.validate(net))
        if not 0 <= accuracy <= 1:
            raise BadParameter(f"`validate` must return an accuracy from 0 to 1, found {accuracy} for {values}.")
        at = self._place[tuple(values.values())], self.supernet(values)
        self.accuracy[at] = self.decay * self.accuracy[at] + (1 - self.decay) * accuracy
        self._known = None

    def supernet(self, values: Mapping[str, Any]) -> int:
        """The number of the supernet in which a configuration is: the drawn one, else the likeliest; 0 for one that is never drawn."""
        place = self._place.get(tuple(values.values()))
        if place is None:
            return 0
        return self._drawn[1] if place == self._drawn[0] else int(self.probabilities(self._done)[place].argmax())

    def settled(self) -> None:
        """The training is over: every configuration is that of its likeliest supernet."""
        self._drawn, self._done = (-1, 0), 1.0

    def probabilities(self, done: float) -> np.ndarray:
        """(configurations, supernets): of each supernet for a configuration."""
        if self._known is None or self._known[0] != done:
            first, last = self.temperature
            self._known = done, balanced((first + (last - first) * done) * self.accuracy, _TOLERANCE)
        return self._known[1]

    def best(self) -> Values:
        """The configuration with the highest running accuracy in its supernet, of those that were trained.

        Raises:
            BadParameter: none was.
        """
        rows = np.arange(len(self.configurations))
        homes = self.probabilities(1.0).argmax(1)
        trained = self.used[rows, homes] > 0
        if not trained.any():
            raise BadParameter("no configuration was trained yet in the supernet that suits it.")
        return dict(self.configurations[int(np.where(trained, self.accuracy[rows, homes], -1.0).argmax())])

    def state_dict(self) -> dict[str, Any]:
        """Accuracies, usage and what was drawn last."""
        return {"accuracy": self.accuracy.tolist(), "used": self.used.tolist(), "drawn": list(self._drawn), "done": self._done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        table = np.array(state.get("accuracy", []), dtype=np.float64)
        if table.shape != self.accuracy.shape:
            raise BadParameter(f"the state is of another mixture: its table is {table.shape}, this one's {self.accuracy.shape}.")
        self.accuracy, self.used = table, np.array(state["used"], dtype=np.int64)
        self._drawn, self._done = (state["drawn"][0], state["drawn"][1]), state["done"]
        self._known = None


def _listed(net: Elastic, among: Sequence[Values] | None) -> list[Values]:
    """The configurations that are drawn, by their canonical names."""
    count = net.space.count() if among is None else len(among)
    if count > _MOST:
        what = "the space has" if among is None else "there are"
        raise BadParameter(f"{what} {count:,} configurations; a balanced mixture keeps an accuracy of each, of at most {_MOST:,}.")
    found = list(net.space.enumerate()) if among is None else [net.space.canonical(values) for values in among]
    different = len({tuple(values.values()) for values in found})
    if not found or different < len(found):
        raise BadParameter(f"`among` lists different configurations, at least one; found {len(found)}, {different} of them different.")
    return found


def balanced(scores: np.ndarray, tolerance: float) -> np.ndarray:
    """softmax of each row, its columns scaled until their means are alike; rows sum to 1."""
    logs = scores - _log_sum(scores, 1)
    for _ in range(_ROUNDS):
        mean = _log_sum(logs, 0) - np.log(len(logs))
        if (np.exp(mean) * (mean + np.log(logs.shape[1]))).sum() <= tolerance:
            break
        logs = logs - mean
        logs = logs - _log_sum(logs, 1)
    return np.exp(logs)


def _log_sum(logs: np.ndarray, axis: int) -> np.ndarray:
    most = logs.max(axis, keepdims=True)
    return most + np.log(np.exp(logs - most).sum(axis, keepdims=True))
