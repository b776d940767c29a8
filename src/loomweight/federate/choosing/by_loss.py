"""A curriculum of clients: first those that the model finds easy.

Paper: When Do Curricula Work in Federated Learning? (2022, https://arxiv.org/abs/2212.12712), client selection: clients are ordered by the loss of the
global model on their data, and a pacing function says how many of them, from the easy end, are chosen from. Code read: the authors' Curriculum-FL,
ClientScheduler and pacing functions (linear, a = 0.8, b = 0.2). We differ: there all clients of the pool train once before they are scored again, and every
client scores every model; here the order is made anew each round, and unless `score` is given, from the losses that clients last
reported, so that nothing more is computed or sent; a client that never answered
comes first, so that everybody is heard.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from numpy.random import Generator

from ...errors import BadParameter
from ..plain import Tensors
from .choose import Choose, Known

Order = Literal["easy", "hard", "random"]


@dataclass(frozen=True)
class ByLoss(Choose):
    """Round t draws from the first  N min(1, begin + (1 - begin) t / (full rounds))  of N clients, ordered by loss.

    Args:
        count: clients a round.
        rounds: of the whole run.
        begin: which part of the clients there is to begin with.
        full: after which part of the run there are all.
        order: "easy" clients first, "hard" first, or "random" (the pool grows all the same).
        score: weights that travel -> loss of each client; None takes the `loss` that each client last reported.

    Raises:
        BadParameter: a number is out of range.

    >>> import numpy as np
    >>> known = Known({"a": {"loss": 3.0}, "b": {"loss": 1.0}, "c": {"loss": 2.0}}, {})
    >>> ByLoss(1, rounds=10, begin=0.4).choose_knowing(0, ["a", "b", "c"], np.random.default_rng(0), known)
    ['b']
    """

    count: int
    rounds: int
    begin: float = 0.2
    full: float = 0.8
    order: Order = "easy"
    score: Callable[[Tensors], Mapping[str, float]] | None = None

    def __post_init__(self) -> None:
        if self.count < 1 or self.rounds < 1 or not 0 < self.begin <= 1 or not 0 < self.full <= 1 or self.order not in ("easy", "hard", "random"):
            raise BadParameter(f"{self}: count and rounds are at least 1, begin and full in (0, 1], order is easy, hard or random.")

    def choose(self, number: int, idle: Sequence[str], draw: Generator) -> Sequence[str]:
        """Nothing is known: any clients."""
        return self.choose_knowing(number, idle, draw, Known({}, {}))

    def choose_knowing(self, number: int, idle: Sequence[str], draw: Generator, known: Known) -> Sequence[str]:
        """Drawn from the pool, without replacement; in the order of the clients."""
        losses = self._losses(known)
        ties, hard = draw.permutation(len(idle)).tolist(), self.order == "hard"
        if self.order == "random":
            keys = [(False, 0.0, tie) for tie in ties]
        else:
            keys = [((client in losses) ^ hard, losses.get(client, 0.0), tie) for client, tie in zip(idle, ties, strict=True)]
        ordered = sorted(range(len(idle)), key=keys.__getitem__, reverse=hard)
        wanted = min(self.count, len(idle))
        pool = ordered[: max(wanted, self.pool(number, len(idle)))]
        return [str(idle[place]) for place in sorted(draw.choice(pool, wanted, replace=False))]

    def pool(self, number: int, clients: int) -> int:
        """How many clients the round with this number draws from.

        >>> [ByLoss(1, rounds=10).pool(number, 100) for number in (0, 4, 8, 9)]
        [20, 60, 100, 100]
        """
        part = min(1.0, self.begin + (1 - self.begin) * number / (self.full * self.rounds))
        return max(1, int(clients * part + 1e-9))

    def _losses(self, known: Known) -> dict[str, float]:
        """Of each client; NaN is the hardest there is."""
        told = self.score(known.weights) if self.score else {client: metrics["loss"] for client, metrics in known.metrics.items() if "loss" in metrics}
        return {client: loss if loss == loss else float("inf") for client, loss in told.items()}

    def concurrent(self, clients: int) -> int:
        """The count."""
        return self.count
