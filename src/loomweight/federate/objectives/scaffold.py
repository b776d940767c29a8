"""Control variates against the drift of clients.

Paper: SCAFFOLD: Stochastic Controlled Averaging for Federated Learning (2019, https://arxiv.org/abs/1910.06378), algorithm 1.

The authors have published no code; read: NVFlare's helper (pt_scaffold.py, after NIID-Bench). Option 2 is (c_i - c) + (received - trained) / (steps * rate)
there, which is the mean of the local gradients where the optimizer is plain SGD; here it is that mean itself, so that any optimizer may be used.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...errors import BadParameter
from ..plain import Tensors
from .aside import aside
from .term import Ended, Term

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class Scaffold(Term):
    """Every local gradient gets + c - c_i; then c_i <- the client's gradient, and c <- c + (1/N) sum of the changes of c_i.

    c is the mean of all c_i, and clients count alike in it, so weigh them alike in the mean too: `Pool(counts=False)`. Each reply is twice as
    large as without, each task too. Robust rules do not look at what is sent for c.

    Args:
        option: 2 takes the mean of the local gradients for the client's, 1 the gradient of all its data at the received weights, which costs
            a pass more and, where few clients are asked, bears only small local steps.

    Raises:
        BadParameter: another option.

    >>> from loomweight.federate import Pool, Strategy
    >>> strategy = Strategy(objective=(Scaffold(),), aggregate=Pool(counts=False))
    """

    option: int = 2

    def __post_init__(self) -> None:
        if self.option not in (1, 2):
            raise BadParameter(f"Scaffold: the options are 1 and 2, found {self.option!r}.")

    def start(self, weights: Tensors) -> Tensors:
        """c = 0."""
        return zeros_of(weights)

    def pool(self, shared: Tensors, ended: Ended) -> Tensors:
        """c + (1/N) sum of the changes."""
        return {name: control + total_of(ended, self.key, name, control) / ended.clients for name, control in shared.items()}

    def begin(self, work: "Work") -> None:
        """c - c_i, and with option 1 the gradient at the received weights."""
        own, common = work.memory_of(self).get("control", {}), work.shared_of(self)
        names = [name for name in work.params if name in common]
        scratch = work.scratch_of(self)
        scratch["own"] = {name: own.get(name, torch.zeros_like(common[name])) for name in names}
        scratch["shift"] = {name: common[name] - scratch["own"][name] for name in names}
        scratch["seen"] = whole_gradient(work, names) if self.option == 1 else {name: torch.zeros_like(common[name]) for name in names}

    def gradient(self, work: "Work") -> None:
        """Corrected."""
        scratch = work.scratch_of(self)
        for name, shift in scratch["shift"].items():
            gradient = work.params[name].grad
            if gradient is None:
                gradient = work.params[name].grad = torch.zeros_like(work.params[name])
            if self.option == 2:
                scratch["seen"][name] += gradient
            gradient += shift.to(gradient.dtype)

    def finish(self, work: "Work") -> Tensors:
        """The change of c_i."""
        scratch = work.scratch_of(self)
        share = 1.0 if self.option == 1 else 1.0 / max(work.step, 1)
        new = {name: seen * share for name, seen in scratch["seen"].items()} if work.step else scratch["own"]
        work.memory_of(self)["control"] = new
        return {name: control - scratch["own"][name] for name, control in new.items()}


def zeros_of(weights: Mapping[str, Tensor]) -> Tensors:
    """Zeros like the floating tensors, in float32 or better."""
    return {name: torch.zeros(t.shape, dtype=torch.promote_types(t.dtype, torch.float32)) for name, t in weights.items() if t.is_floating_point()}


def total_of(ended: Ended, key: str, name: str, like: Tensor) -> Tensor:
    """The sum of what clients sent for a term under a name; a client that sent nothing there, or another type, adds nothing."""
    total = torch.zeros_like(like)
    for reply in ended.replies:
        sent = reply.extra.get(key, {}).get(name)
        if sent is not None and sent.is_floating_point() and sent.shape == like.shape:
            total += sent.to(like.dtype)
    return total


def whole_gradient(work: "Work", names: list[str]) -> Tensors:
    """The gradient of the mean loss of all the client's data at the weights as they are."""
    count, params = len(work.data[0]), [work.params[name] for name in names]
    total = [torch.zeros_like(param) for param in params]
    for chosen in work.local.cut(torch.arange(count)):
        batch = [part[chosen] for part in work.data]
        loss = work.local.loss(aside(work.model, batch[:-1]), batch[-1]) * (len(batch[-1]) / count)
        for sum_of, part in zip(total, torch.autograd.grad(loss, params, allow_unused=True), strict=True):
            sum_of += 0 if part is None else part
    return dict(zip(names, total, strict=True))
