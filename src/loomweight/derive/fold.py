"""Plain weights again."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BadParameter
from .derive import derived_of, give_back


def fold(model: nn.Module) -> nn.Module:
    """A copy of the model with ordinary parameters that own exactly their bytes, whatever was derived or a view of something larger.

    The copy has the classes that the model had before anything was derived, gradients are left out, and tensors that were one
    are one in the copy. The model itself stays as it is. What is stored for a derivation (experts, templates, the slices not in use)
    is never copied: the copy takes the memory of what is used.

    Raises:
        BadParameter: a tensor depends on the inputs of its module (a mixture with a router that sees them).

    >>> from . import derive, Slice
    >>> model = nn.Linear(2, 2)
    >>> _ = derive(model, "weight", Slice(nn.Parameter(torch.zeros(1000, 2)), (2,)))
    >>> plain = fold(model)
    >>> type(plain), plain.weight.untyped_storage().nbytes(), list(plain.state_dict())
    (<class 'torch.nn.modules.linear.Linear'>, 16, ['weight', 'bias'])
    """
    return folded(model, lambda how: True)


def folded(model: nn.Module, which: Callable[[nn.Module], bool]) -> nn.Module:
    """A copy in which these derivations are plain weights and others stay."""
    memo: dict[int, Any] = {}
    made: dict[Any, Tensor] = {}
    chosen = [(module, leaf, how) for module in model.modules() for leaf, how in derived_of(module).items() if which(how)]
    for module, leaf, how in chosen:
        if hasattr(how, "given"):
            raise BadParameter(f"{leaf} of {type(module).__name__} is a {type(how).__name__} by the inputs of the module; no plain weight can stand for it.")
    with torch.enable_grad():
        used = [(module, leaf, how, _value(module, leaf, made)) for module, leaf, how in chosen]
    for _, _, how, _ in used:
        memo[id(how)] = None
    for tensor in _kept(model, {id(inner) for _, _, how, _ in used for inner in how.modules()}):
        _own(tensor, memo)
    new = {id(value): _own(value, memo, parameter=True) for *_, value in used}
    plain = deepcopy(model, memo)
    for module, leaf, _, value in used:
        twin = memo[id(module)]
        give_back(twin, leaf, new[id(value)])
    return plain


def _kept(model: nn.Module, derivations: set[int]) -> Iterator[Tensor]:
    """Tensors of modules that are copied, and what these remember of a computation, which could not be copied as it is."""
    for module in model.modules():
        if id(module) not in derivations:
            yield from (tensor for tensor in (*module._parameters.values(), *module._buffers.values()) if tensor is not None)
            yield from (value for value in vars(module).values() if isinstance(value, Tensor) and value.grad_fn is not None)


def _value(module: nn.Module, leaf: str, made: dict[Any, Tensor]) -> Tensor:
    """What is used there, computed once however many places repeat it."""
    holder = derived_of(module)
    how = holder[leaf] if leaf in holder else None  # noqa: SIM401  a ModuleDict has no get
    key = (id(module), leaf) if how is None else id(how)
    if key not in made:
        source = getattr(how, "reads", None)
        made[key] = _value(source[0], source[1], made) if source else getattr(module, leaf)
    return made[key]


def _own(tensor: Tensor, memo: dict[int, Any], *, parameter: bool = False) -> Any:
    """A copy that owns its memory, entered where `deepcopy` looks."""
    if id(tensor) not in memo:
        with torch.no_grad():
            copy = tensor.detach().clone(memory_format=torch.contiguous_format)
        parameter = parameter or isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(copy, tensor.requires_grad) if parameter else copy
        memo.setdefault(id(memo), []).append(tensor)
    return memo[id(tensor)]
