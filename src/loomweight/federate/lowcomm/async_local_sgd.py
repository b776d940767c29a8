"""Asynchronous Local SGD in virtual time: workers of different speeds, a server that answers each as it comes.

Paper: Asynchronous Local-SGD Training for Language Modeling (2024, https://arxiv.org/abs/2401.09135), algorithms 1 to 3 and section 5.

Code read: google-deepmind/asyncdiloco at commit e783a30, `AsyncExperiment`. We differ: nothing is drawn, so a run is a function of its arguments; where
two workers finish at the same time, the one named first comes first, and both start again from what both have given.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ...errors import BadParameter
from .delayed_nesterov import DelayedNesterov
from .local_steps import local_steps

#: (worker, its weights at the start, local steps, how often it has started) -> theta_start - theta_end
Train = Callable[[str, dict[str, Tensor], int, int], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Arrival:
    """A worker's update at the server: when, whose, of how many local steps, and how many others came since it started."""

    time: float
    worker: str
    steps: int
    staleness: int


@dataclass
class _Underway:
    worker: str
    steps: int
    version: int
    done: float
    begun: dict[str, Tensor]
    visit: int


@dataclass
class AsyncLocalSGD:
    """A server and its workers; `run` drives them in virtual time.

    Args:
        server: what is done with a pseudo-gradient; `DelayedNesterov(every=1)` is plain asynchronous Nesterov.
        speeds: local steps per second of each worker.
        steps: H, local steps of the fastest.
        dynamic: give slower workers fewer steps (DyLU); False gives all H.
        grace: seconds for which a worker that has arrived waits for others, so that they start again from the same weights.

    Attributes:
        arrivals: all that have come.

    >>> def downhill(worker, weights, steps, visit):  # w <- w - 0.1 w, so often
    ...     return {"w": weights["w"] * (1 - 0.9**steps)}
    >>> training = AsyncLocalSGD(DelayedNesterov(lr=1.0, momentum=0.0, every=1), {"a": 2.0, "b": 1.0}, steps=4)
    >>> training.run({"w": torch.tensor(1.0)}, downhill, arrivals=3)
    {'w': tensor(0.3058)}
    >>> [(one.time, one.worker, one.steps, one.staleness) for one in training.arrivals]
    [(2.0, 'a', 4, 0), (2.0, 'b', 2, 1), (4.0, 'a', 4, 0)]
    """

    server: DelayedNesterov
    speeds: Mapping[str, float]
    steps: int
    dynamic: bool = True
    grace: float = 0.0
    arrivals: list[Arrival] = field(default_factory=list)

    def __post_init__(self) -> None:
        local_steps(self.speeds, self.steps)
        if not self.grace >= 0:
            raise BadParameter(f"grace is a number of seconds of at least 0, found {self.grace}.")

    def run(self, weights: Mapping[str, Tensor], train: Train, arrivals: int) -> dict[str, Tensor]:
        """Train until so many updates have come; the server's weights."""
        state = self.server.start(weights)
        steps = local_steps(self.speeds, self.steps) if self.dynamic else dict.fromkeys(self.speeds, self.steps)
        visits = dict.fromkeys(self.speeds, 0)
        underway = [self._sent(name, steps[name], state, 0.0, visits) for name in self.speeds]
        came = 0
        while came < arrivals:
            first = min(one.done for one in underway)
            ready = sorted((one for one in underway if one.done <= first + self.grace), key=lambda one: one.done)[: arrivals - came]
            for one in ready:
                self.arrivals.append(Arrival(one.done, one.worker, one.steps, state["arrivals"] - one.version))
                self.server.push(state, train(one.worker, one.begun, one.steps, one.visit))
            came += len(ready)
            now = ready[-1].done
            fresh = {one.worker: self._sent(one.worker, one.steps, state, now, visits) for one in ready}
            underway = [fresh.get(one.worker, one) for one in underway]
        return self.server.weights(state)

    def _sent(self, worker: str, steps: int, state: dict[str, Any], now: float, visits: dict[str, int]) -> _Underway:
        visits[worker] += 1
        return _Underway(worker, steps, state["arrivals"], now + steps / self.speeds[worker], self.server.weights(state), visits[worker] - 1)
