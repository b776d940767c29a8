"""Put the tensors of an average into a model, and take them out again."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..errors import BadParameter
from ..weights import Weights
from ..weights.spec import cast
from .model import local


def put(live: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Let the model's tensors be the average's; what they were comes back, by name.

    A tensor of the same dtype and place changes places with it. A shard of FSDP2 is written in place, since others keep its address.
    """
    kept: dict[str, Tensor] = {}
    for name, value in values.items():
        if name not in live:
            continue
        tensor = live[name]
        fitting = cast(value.to(tensor.device), tensor.dtype, name)
        if hasattr(tensor, "_local_tensor"):
            kept[name] = local(tensor).clone()
            local(tensor).copy_(fitting)
        else:
            kept[name] = tensor.data
            tensor.data = fitting
    return kept


def put_back(live: Mapping[str, Tensor], kept: Mapping[str, Tensor], *, write: bool = False) -> None:
    """Let the model's tensors be what they were; or `write` entries into the tensors that are there."""
    with torch.no_grad():
        for name, tensor in kept.items():
            if write or hasattr(live[name], "_local_tensor"):
                local(live[name]).copy_(tensor)
            else:
                live[name].data = tensor


def whole(model: nn.Module, label: str) -> Weights:
    """All that the model holds now, as weights of their own, ties kept.

    Raises:
        BadParameter: it is sharded over processes.

    >>> whole(nn.Linear(2, 1), "a line")
    Weights(a line, 2 tensors, 3 parameters, float32)
    """
    copies: dict[int, Tensor] = {}
    state = model.state_dict(keep_vars=True)
    if sharded := [name for name, tensor in state.items() if hasattr(tensor, "_local_tensor")]:
        raise BadParameter(f"tensor {sharded[0]!r} is sharded over processes; inside `with average.applied():` save the model by its own means.")
    return Weights.of({name: copies.setdefault(id(tensor), tensor.detach().clone()) for name, tensor in state.items()}, label)
