"""The home without a server: every process of a torch.distributed group pools what all of them give."""

import hashlib
import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, distributed

from ...errors import BadParameter, NamesDiffer, WorkerDied
from ...rules import Mean, Rule
from ..guard import Guard
from ..lowcomm.line import gathered
from ..plain import Reply, Tensors
from ..pooling import Pool
from .together import together

log = logging.getLogger("loomweight.federate")


def all_pool(tensors: Mapping[str, Tensor], how: Rule | Pool | None = None, group: Any = None, weight: float = 1.0, guard: Guard | None = None) -> Tensors:
    """Everyone's tensors, pooled; the same bits in every process.

    A process whose tensors hold NaN or Inf is left out and named in the log, and gets the result as the others do. Everything is sent to
    everyone, as a robust rule needs: each process holds as many copies as there are processes.

    Args:
        tensors: updates, or gradients; names, shapes and dtypes are those of the other processes.
        how: a rule, or a `Pool` of one; None is the mean.
        group: a process group of torch.distributed, or a backend itself; None is the default group.
        weight: how much this process counts.
        guard: limits.

    Returns:
        The pooled tensors, in float32 (float64 for tensors of that).

    Raises:
        BadParameter: there is no group.
        NamesDiffer: a process has other tensors.
        TooFewReplies: fewer processes count than the rule needs.
        WorkerDied: a process of the group is gone.
    """
    group = group or (distributed.group.WORLD if distributed.is_available() and distributed.is_initialized() else None)
    if group is None:
        raise BadParameter("torch.distributed is not set up in this process: call torch.distributed.init_process_group first.")
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))  # every view begins at a multiple of its width
    told = repr([(name, tuple(tensors[name].shape), str(tensors[name].dtype)) for name in order]).encode()
    where = next((tensor.device for tensor in tensors.values()), torch.device("cpu"))
    head = torch.tensor([float(weight), *hashlib.sha256(told).digest()[:6]], dtype=torch.float64, device=where)
    heads = from_all(head, group)
    if differ := [rank for rank, other in enumerate(heads) if not torch.equal(other[1:], heads[0][1:])]:
        raise NamesDiffer(f"process {differ[0]} gives tensors of other names, shapes or dtypes than process 0; give the same ones in every process.")
    bodies = from_all(torch.cat([_bytes(tensors[name]) for name in order]), group)
    replies = [Reply(str(rank), 0, _views(body, tensors, order), float(one[0])) for rank, (one, body) in enumerate(zip(heads, bodies, strict=True))]
    pooled, refused = together(replies, how or Mean(), dict(tensors), guard or Guard())
    for wrong in refused:
        log.warning("process %s does not count (%s): %s", wrong.client, wrong.code, wrong.words)
    return {name: pooled[name] for name in tensors}


def from_all(tensor: Tensor, group: Any) -> list[Tensor]:
    """Everyone's tensor, in the order of ranks.

    Raises:
        WorkerDied: a process of the group is gone.
    """
    try:
        return gathered(tensor, group)
    except RuntimeError as error:
        raise WorkerDied(f"a process of the group is gone ({error}); start the group again from the last saved weights.") from error


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8)


def _views(body: Tensor, like: Mapping[str, Tensor], order: list[str]) -> Tensors:
    pieces = body.split([like[name].nbytes for name in order])
    return {name: piece.view(like[name].dtype).view(like[name].shape) for name, piece in zip(order, pieces, strict=True)}
