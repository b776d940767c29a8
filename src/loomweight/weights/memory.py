"""Weight sets over tensors that are already in memory: state dicts and modules."""

from collections.abc import Mapping

from torch import Tensor, nn

from ..errors import BrokenFile
from .order import owner
from .spec import Block, Spec
from .weights import Weights


def from_tensors(tensors: Mapping[str, Tensor], label: str = "") -> Weights:
    """A set over a state dict. Nothing is copied; names that are the same view of memory are tied.

    Raises:
        BrokenFile: a value is not a dense tensor.
    """
    held: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or tensor.is_sparse or tensor.is_quantized or tensor.is_meta:
            raise BrokenFile(f"{label or 'state dict'}: {name!r} is {_kind(tensor)}, not a dense tensor with data.")
        held[str(name)] = tensor.detach()
    spec = {name: Spec(tuple(tensor.shape), tensor.dtype) for name, tensor in held.items()}

    def open_(name: str) -> Block:
        flat = held[name].reshape(-1)
        return lambda lo, hi: flat[lo:hi]

    return Weights(spec, open_, ties=shared(held), label=label)


def from_module(module: nn.Module, label: str = "") -> Weights:
    """A set over a module's parameters and persistent buffers, tied parameters known as such."""
    return from_tensors(module.state_dict(keep_vars=True), label or type(module).__name__)


def shared(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """alias -> owner for the names whose tensors are one and the same view of memory; `owner` says which of them owns."""
    groups: dict[tuple[object, ...], list[str]] = {}
    for name, tensor in tensors.items():
        if tensor.numel():
            place = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype, str(tensor.device))
            groups.setdefault(place, []).append(name)
    return {alias: first for group in groups.values() if (first := owner(group)) for alias in group if alias != first}


def _kind(value: object) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    return f"a tensor of layout {value.layout} on {value.device}"
