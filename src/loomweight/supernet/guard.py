"""A plain optimizer on the parameters of an elastic model would not see the gradients of subnets: it is told so."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ..errors import BadParameter

NOT_DDP = "DistributedDataParallel would miss the gradients of subnets; train an elastic model with lw.supernet.Parallel(step, net, ...)."

_MARK = "_loomweight_elastic"
_registered: list[Any] = []


def guard(tensors: Iterable[Tensor]) -> None:
    """Mark parameters that only `SubnetOptimizer` may step on."""
    for tensor in tensors:
        setattr(tensor, _MARK, True)
    if not _registered:
        _registered.append(register_optimizer_step_pre_hook(_refuse))


def guarded(tensor: Tensor) -> bool:
    """True for what only `SubnetOptimizer` may step on."""
    return hasattr(tensor, _MARK)


def unguard(tensors: Iterable[Tensor]) -> None:
    """Any optimizer may step on them again."""
    for tensor in tensors:
        if hasattr(tensor, _MARK):
            delattr(tensor, _MARK)


class Allowed:
    """While `SubnetOptimizer` steps."""

    now = False


def _refuse(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    if Allowed.now:
        return
    if any(hasattr(tensor, _MARK) for group in optimizer.param_groups for tensor in group["params"]):
        raise BadParameter(
            f"{type(optimizer).__name__} holds parameters of an elastic model and would miss the gradients of its subnets; "
            "step with lw.supernet.SubnetOptimizer(net, optimizer)."
        )


def refuse_inside_ddp() -> None:
    """Gradients of subnets are not averaged there, which it would not notice where it looks for unused parameters."""
    if torch.is_grad_enabled() and getattr(torch.nn.parallel.DistributedDataParallel, "_active_ddp_module", None) is not None:
        raise BadParameter(NOT_DDP)
