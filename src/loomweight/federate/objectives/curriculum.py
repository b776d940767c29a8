"""Easy examples first.

Paper: When Do Curricula Work in Federated Learning? (2022, https://arxiv.org/abs/2212.12712), section 3.

No code of the authors was found; the pacing functions are those of Wu, Dyer and Neyshabur, to whom the paper refers. An example's difficulty is its loss under
the received model; here the pacing runs through the steps of each task.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil, exp, log, sqrt
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...errors import BadParameter
from .aside import aside
from .term import Term

if TYPE_CHECKING:
    from ..work import Work

ORDERS = ("easy", "hard", "random")
#: of t from 0 to 1
PACES = {
    "linear": lambda t: t,
    "quadratic": lambda t: t * t,
    "root": sqrt,
    "exp": lambda t: (exp(10 * t) - 1) / (exp(10) - 1),
    "log": lambda t: 1 + 0.1 * log(t + exp(-10)),
    "step": float,
}


@dataclass(frozen=True)
class Curriculum(Term):
    """Step k draws its batch from the first b + (1 - b) pace(k / (a steps)) of the examples, which are in order of their loss at the received weights.

    Args:
        ranking: "easy" first, "hard" first, or in "random" order.
        pacing: linear, quadratic, root, exp, log; or step, which goes from b to all at once.
        full: a, the share of the task's steps after which all examples are there.
        first: b, the share of the examples that are there at once.

    Raises:
        BadParameter: another word, or a share that is not in (0, 1].

    >>> Curriculum(full=0.5, first=0.2).there(0, 20, 100), Curriculum(full=0.5, first=0.2).there(5, 20, 100), Curriculum(full=0.5, first=0.2).there(10, 20, 100)
    (20, 60, 100)
    """

    ranking: str = "easy"
    pacing: str = "linear"
    full: float = 0.8
    first: float = 0.2

    def __post_init__(self) -> None:
        if self.ranking not in ORDERS or self.pacing not in PACES:
            raise BadParameter(f"Curriculum: the order is easy, hard or random and the pacing {', '.join(PACES)}; found {self.ranking!r} and {self.pacing!r}.")
        if not 0 < self.full <= 1 or not 0 < self.first <= 1:
            raise BadParameter(f"Curriculum: full and first are shares in (0, 1], found {self.full} and {self.first}.")

    def there(self, step: int, steps: int, examples: int) -> int:
        """How many examples a step may draw from."""
        time = min(step / (self.full * steps), 1.0) if steps else 1.0
        pace = 0.0 if self.pacing == "step" and time < 1 else PACES[self.pacing](time)
        return min(examples, max(1, ceil(examples * (self.first + (1 - self.first) * min(max(pace, 0.0), 1.0)) - 1e-9)))

    def order(self, work: "Work", batches: Iterable[Any]) -> Iterator[Any]:
        """Other batches in the place of those that were to come."""
        count, size = len(work.data[0]), work.local.batch
        ranks = (
            torch.randperm(count, generator=work.generator)
            if self.ranking == "random"
            else losses(work).argsort(descending=self.ranking == "hard", stable=True)
        )
        for step in range(work.steps):
            there = max(self.there(step, work.steps, count), min(2, count))
            chosen = ranks[torch.randperm(there, generator=work.generator)[:size]]
            yield tuple(part[chosen] for part in work.data)


@torch.no_grad()
def losses(work: "Work") -> Tensor:
    """The loss of each of the client's examples at the weights as they are, in evaluation mode."""
    found, model = [], work.model
    model.eval()
    for first in range(0, len(work.data[0]), work.local.batch):
        batch = [part[first : first + work.local.batch] for part in work.data]
        outputs = aside(model, batch[:-1])
        found += [work.local.loss(outputs[i : i + 1], batch[-1][i : i + 1]).reshape(()) for i in range(len(batch[-1]))]
    model.train()
    return torch.stack(found)
