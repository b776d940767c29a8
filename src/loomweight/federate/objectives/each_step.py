"""What each local step of some clients did: for `FedGP` and `FedDA`, which estimate from it how noisy the target's update is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ...errors import BadParameter
from ..plain import Tensors
from .term import Term

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class EachStep(Term):
    """The named clients send the change of each of their first steps, [steps, ...] for each trained tensor that travels; others send nothing.

    It costs as many models on the way up as there are steps: it is meant for a target client with little data.

    Args:
        clients: their names.
        most: steps that are sent.

    Raises:
        BadParameter: less than two steps, from which there is no variance.

    >>> EachStep(["ann"]).key
    'EachStep'
    """

    clients: Sequence[str]
    most: int = 32

    def __post_init__(self) -> None:
        if self.most < 2:
            raise BadParameter(f"EachStep: most is at least 2, found {self.most}.")

    def begin(self, work: "Work") -> None:
        """Begin to watch."""
        if work.task.client in self.clients:
            work.scratch_of(self).update(before=self._now(work), steps=[])

    def stepped(self, work: "Work") -> None:
        """Note the change."""
        seen = work.scratch_of(self)
        if seen and len(seen["steps"]) < self.most:
            now = self._now(work)
            seen["steps"].append({name: now[name] - before for name, before in seen["before"].items()})
            seen["before"] = now

    def finish(self, work: "Work") -> Tensors:
        """The changes, stacked."""
        steps = work.scratch_of(self).get("steps", [])
        return {name: torch.stack([step[name] for step in steps]) for name in steps[0]} if steps else {}

    def _now(self, work: "Work") -> Tensors:
        return {name: tensor.detach().clone() for name, tensor in work.params.items() if name in work.task.weights}
