"""A client fits a mixture of experts to its data by expectation and maximisation.

Paper: Distributed Learning of Mixtures of Experts (2023, https://arxiv.org/abs/2312.09877), section 2.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import BadParameter
from ..plain import Tensors
from ..pooling.gated_experts import GatedExperts
from ..pooling.mixture import fit_mixture
from .term import Term

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class FitExperts(Term):
    """Instead of steps of descent, so many of expectation and maximisation, from what was received; the model is `GatedExperts`, and `Transported` pools it.

    Args:
        steps: of expectation and maximisation.

    >>> FitExperts(steps=10).key
    'FitExperts'
    """

    steps: int = 50

    def order(self, work: "Work", batches: Iterable[Any]) -> Iterable[Any]:
        """No batch."""
        return ()

    def finish(self, work: "Work") -> Tensors:
        """The fitted mixture becomes the update.

        Raises:
            BadParameter: the model is no mixture.
        """
        if not isinstance(work.model, GatedExperts):
            raise BadParameter(f"FitExperts: the model is GatedExperts, found {type(work.model).__name__}.")
        found = fit_mixture(work.data[0], work.data[-1], work.model.mixture, self.steps)
        made = {"gates": found.gates, "experts": found.experts, "log_variances": found.variances.log()}
        received = work.task.weights
        work.update = {name: (made[name] - received[name].double()).to(received[name].dtype) for name in received}
        return {}
