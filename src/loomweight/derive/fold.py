"""Plain weights again."""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from .derive import derived_of, undo


def fold(model: nn.Module) -> nn.Module:
    """A copy of the model with ordinary parameters that own exactly their bytes, whatever was derived or a view of something larger.

    The copy has the classes that the model had before anything was derived, gradients are left out, and tensors that were one
    are one in the copy. The model itself stays as it is. What is stored for a derivation (experts, templates, the slices not in use)
    is never copied: the copy takes the memory of what is used.

    >>> from . import derive, Slice
    >>> model = nn.Linear(2, 2)
    >>> _ = derive(model, "weight", Slice(nn.Parameter(torch.zeros(1000, 2)), (2,)))
    >>> plain = fold(model)
    >>> type(plain), plain.weight.untyped_storage().nbytes(), list(plain.state_dict())
    (<class 'torch.nn.modules.linear.Linear'>, 16, ['bias', 'weight'])
    """
    memo: dict[int, Any] = {}
    made: dict[tuple[int, str], Tensor] = {}
    used = [(module, leaf, how, _value(module, leaf, made)) for module in model.modules() for leaf, how in derived_of(module).items()]
    for _, _, how, _ in used:
        memo[id(how)] = None
    for tensor in model.parameters():
        _own(tensor, memo)
    for tensor in model.buffers():
        _own(tensor, memo)
    new = {id(value): _own(value, memo) for *_, value in used}
    plain = deepcopy(model, memo)
    for module, leaf, _, value in used:
        twin = memo[id(module)]
        undo(twin, leaf)
        twin.register_parameter(leaf, new[id(value)])
    return plain


def _value(module: nn.Module, leaf: str, made: dict[tuple[int, str], Tensor]) -> Tensor:
    """What is used there, computed once however many places repeat it."""
    key = (id(module), leaf)
    if key not in made:
        holder = derived_of(module)
        how = holder[leaf] if leaf in holder else None  # noqa: SIM401  a ModuleDict has no get
        source = getattr(how, "reads", None)
        made[key] = _value(source[0], source[1], made) if source else getattr(module, leaf)
    return made[key]


def _own(tensor: Tensor, memo: dict[int, Any]) -> Any:
    """A copy that owns its memory, entered where `deepcopy` looks."""
    if id(tensor) not in memo:
        with torch.no_grad():
            copy = tensor.detach().clone(memory_format=torch.contiguous_format)
        parameter = isinstance(tensor, nn.Parameter) or tensor.grad_fn is not None or tensor.requires_grad
        memo[id(tensor)] = nn.Parameter(copy, tensor.requires_grad) if parameter else copy
        memo.setdefault(id(memo), []).append(tensor)
    return memo[id(tensor)]
