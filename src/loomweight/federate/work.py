"""A client's local training in progress: what terms of the objective and parts of the message may look at and change."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .local import Local
from .plain import TOLD, Plain, Task, Tensors
from .slices import How


@dataclass
class Work:
    """One client's task.

    Args:
        model: the live model, with the received weights loaded.
        task: what was asked.
        data: the client's (inputs, targets).
        local: settings of the training.
        memory: what the client keeps from task to task, by key.
        start: the received tensors, and the client's own where they are local.
        params: name -> live parameter, those that are trained.
        optimizer: of the parameters.
        generator: random numbers of this task alone.
        seed: of numpy-like draws that a part may want to key itself.
        step: of the local training, from 0.
        steps: that the training has.
        outputs: of the model for the batch in work.
        losses: of the steps so far, without the terms.
        update: trained - received, when the training is done.
        how: name -> what becomes of the tensor: pool, mean, ...
        scratch: what terms hold while the task lasts, by key; it is not kept.
        exits: what is undone when the task ends, well or not, such as a hook on the model.
    """

    model: nn.Module
    task: Task
    data: Sequence[Tensor]
    local: Local
    memory: Plain
    start: Tensors
    params: dict[str, nn.Parameter]
    optimizer: Optimizer | None
    generator: torch.Generator
    step: int = 0
    steps: int = 0
    outputs: Any = None
    losses: list[float] = field(default_factory=list)
    update: Tensors = field(default_factory=dict)
    how: Mapping[str, How] = field(default_factory=dict)
    scratch: dict[str, dict[str, Any]] = field(default_factory=dict)
    exits: ExitStack = field(default_factory=ExitStack)

    def memory_of(self, part: object) -> Plain:
        """What the client keeps for a term or a message part: a dict of plain data, empty at first."""
        return self.memory.setdefault(getattr(part, "key", type(part).__name__), {})

    def scratch_of(self, part: object) -> dict[str, Any]:
        """What a term holds while this task lasts: anything, empty at first."""
        return self.scratch.setdefault(getattr(part, "key", type(part).__name__), {})

    def shared_of(self, term: object) -> Tensors:
        """What the server sent for a term."""
        return self.task.shared.get(getattr(term, "key", type(term).__name__), {})

    @property
    def told(self) -> Tensors:
        """What the server's aggregate told this client."""
        return self.task.shared.get(TOLD, {})

    @property
    def rate(self) -> float:
        """The optimizer's learning rate now."""
        return float(self.optimizer.param_groups[0]["lr"]) if self.optimizer else 0.0
