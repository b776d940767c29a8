"""How the global model without a client's part does on that client's data: for `FedCE`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ..plain import Tensors
from .term import Term
from .training_accuracy import accuracy

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class LeaveOneOut(Term):
    """The client sends the mean over its rounds of the error of (w - c_i w_i) / (1 - c_i) on its data, and changes nothing in its training.

    w: the received weights; w_i: its own at the end of its last task, which it keeps; c_i: its share in w, which the aggregate tells. Before it knows these the
    error is 1. The paper measures on data held back for validation; here it is the client's own data.

    >>> LeaveOneOut().key
    'LeaveOneOut'
    """

    def begin(self, work: "Work") -> None:
        """Measure, while the received weights are loaded."""
        memory, share = work.memory_of(self), work.told.get("share")
        error = 1.0
        if share is not None and "trained" in memory and share < 1:
            part = float(share)
            whole = dict(work.model.state_dict())
            without = {name: (work.start[name] - part * own) / (1 - part) for name, own in memory["trained"].items()}
            error = 1 - accuracy(work.model, {**whole, **without}, work)
        memory["error"] = memory.get("error", 0.0) + error
        memory["rounds"] = memory.get("rounds", 0) + 1

    def finish(self, work: "Work") -> Tensors:
        """The mean error; and the trained weights are kept."""
        memory = work.memory_of(self)
        received = work.task.weights
        memory["trained"] = {name: received[name] + change for name, change in work.update.items() if change.is_floating_point()}
        return {"error": torch.tensor(memory["error"] / memory["rounds"], dtype=torch.float64)}
