"""Put the tensors of an average into a model, and take them out again."""

from collections.abc import Hashable, Mapping

import torch
from torch import Tensor, nn

from ..engines import current
from ..errors import BadParameter
from ..weights import BLOCK, Weights
from ..weights.spec import cast, spans
from .model import local
from .step import flat


@torch.no_grad()
def put(live: Mapping[str, Tensor], values: Mapping[str, Tensor], kept: dict[str, Tensor]) -> None:
    """Let the model's tensors be the average's; what they were goes into `kept`, by name, as far as it gets.

    A parameter of the same dtype and place changes places with the average's tensor. A buffer gets a copy, since a forward may write into it; a
    shard of FSDP2 is written in place, since others keep its address. Tensors that share their memory share the new one.
    """
    places: dict[Hashable, Tensor] = {}
    for name, entries in _fitting(live, values).items():
        tensor, value = live[name], values[name]
        if hasattr(tensor, "_local_tensor"):
            kept[name] = local(tensor).clone()
            local(tensor).copy_(entries)
        else:
            kept[name] = tensor.data
            tensor.data = places.setdefault(place_of(tensor), entries.clone() if entries is value and not isinstance(tensor, nn.Parameter) else entries)


def _fitting(live: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The values in the dtypes and places of the model's tensors: large ones here block by block, looked at and rounded in the cache."""
    found: dict[str, Tensor] = {}
    tasks: list[tuple[str, Tensor, Tensor]] = []
    for name, value in values.items():
        if name not in live:
            continue
        tensor = live[name]
        if value.dtype == tensor.dtype or value.numel() <= BLOCK or not (value.is_cpu and tensor.is_cpu):
            found[name] = cast(value.to(tensor.device), tensor.dtype, name)
        else:
            found[name] = torch.empty_like(value, dtype=tensor.dtype)
            rounded, exact = flat(found[name], value), flat(value)
            tasks += [(name, rounded[lo:hi], exact[lo:hi]) for lo, hi in spans(value.numel(), 8 * BLOCK)]

    def work(task: tuple[str, Tensor, Tensor]) -> None:
        name, rounded, exact = task
        for lo, hi in spans(len(exact)):
            rounded[lo:hi] = cast(exact[lo:hi], rounded.dtype, name)

    for _ in current().map(work, tasks) if tasks else ():
        pass
    return found


@torch.no_grad()
def put_back(live: Mapping[str, Tensor], kept: Mapping[str, Tensor], *, write: bool = False) -> None:
    """Let the model's tensors be what they were; or `write` entries into the tensors that are there."""
    for name, tensor in kept.items():
        if write or hasattr(live[name], "_local_tensor"):
            local(live[name]).copy_(cast(tensor, live[name].dtype, name))
        else:
            live[name].data = tensor


def whole(model: nn.Module, label: str) -> Weights:
    """All that the model holds now, as weights of their own, ties kept.

    Raises:
        BadParameter: it is sharded over processes.

    >>> whole(nn.Linear(2, 1), "a line")
    Weights(a line, 2 tensors, 3 parameters, float32)
    """
    state = model.state_dict(keep_vars=True)
    if extra := [name for name, value in state.items() if not isinstance(value, Tensor)]:
        raise BadParameter(f"{extra[0]!r} of the model's state is no tensor; inside `with average.applied():` save the model by its own means.")
    if sharded := [name for name, tensor in state.items() if hasattr(tensor, "_local_tensor")]:
        raise BadParameter(f"tensor {sharded[0]!r} is sharded over processes; inside `with average.applied():` save the model by its own means.")
    copies = {place: tensor.detach().clone() for place, tensor in {place_of(tensor): tensor for tensor in state.values()}.items()}
    return Weights.of({name: copies[place_of(tensor)] for name, tensor in state.items()}, label)


def place_of(tensor: Tensor) -> Hashable:
    """What two tensors have in common that are the same view of memory."""
    return (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device) if tensor.numel() else id(tensor)
