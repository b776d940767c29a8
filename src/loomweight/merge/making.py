"""The results of documents, made in the way that a run is told; what others use is made first, and once."""

import torch

from ..weights import Weights
from .plan import CPU, Plan
from .recipe import Recipe


class Making:
    """Makes the results of plans, and keeps what turns out meanwhile.

    Args:
        allow_nonfinite, device: as of `Plan.weights`, for every document.
    """

    def __init__(self, allow_nonfinite: bool = False, device: torch.device = CPU) -> None:
        self._allow_nonfinite, self._device = allow_nonfinite, device
        self._heard: dict[str | None, list[str]] = {}

    def __call__(self, plan: Plan) -> Weights:
        """The result of a plan, and before it those of all that it uses, so that what is read whole is read on all threads."""
        for result in plan.earlier:
            result()
        heard = self._heard.setdefault(plan.recipe.name, [])
        return plan.weights(allow_nonfinite=self._allow_nonfinite, device=self._device, tell=heard.append)

    def notes(self, recipe: Recipe) -> tuple[str, ...]:
        """What turned out in a document and in those that it uses, which are named."""
        earlier = [f"in {name!r}, {note}" for name, used in recipe.earlier.items() for note in self.notes(used)]
        return tuple(dict.fromkeys([*earlier, *self._heard.get(recipe.name, ())]))
