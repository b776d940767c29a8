"""Replace a module's tensor by what a derivation computes."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from torch import Tensor, nn

from ..errors import BadParameter, ShapesDiffer, unknown

#: the child of a module under which its derivations are
HOLDER = "derived"


@dataclass(frozen=True)
class Derivation:
    """One derived tensor of a model.

    Args:
        name: the tensor that is used, `layers.1.weight`.
        kind: the class of the derivation.
        sources: names of what it is computed from, as the model stores them; of a tie, the tensor that it repeats.
    """

    name: str
    kind: str
    sources: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} <- {self.kind}({', '.join(self.sources)})"


def derive(model: nn.Module, name: str, how: nn.Module) -> nn.Module:
    """From now on `name` of the model is `how()`; the parameters of `how` are trained, saved and moved in its place.

    The tensor is computed whenever the module reads it, so once a forward pass in most modules, and gradients flow through it. A
    derivation that has a method `given(*inputs)` is told the inputs of the module before each forward pass: a router mixes by them.

    Args:
        model: changed in place.
        name: a parameter, `encoder.layers.0.linear1.weight`; if it is derived already, the new derivation takes over.
        how: a module whose `forward()` returns a tensor of the same shape.

    Returns:
        `how`.

    Raises:
        UnknownName: the model has no such parameter.
        ShapesDiffer: `how()` has another shape than the parameter.

    >>> import torch
    >>> from .low_rank import LowRank
    >>> layer = nn.Sequential(nn.Linear(3, 2))
    >>> low = derive(layer, "0.weight", LowRank(layer[0].weight, rank=1))
    >>> sorted(layer.state_dict())
    ['0.bias', '0.derived.weight.down', '0.derived.weight.up', '0.derived.weight.weight']
    >>> print(*derivations(layer))
    0.weight <- LowRank(0.derived.weight.weight, 0.derived.weight.down, 0.derived.weight.up)
    """
    owner, leaf = owner_of(model, name)
    made, present = how(), getattr(owner, leaf)
    if made.shape != present.shape:
        raise ShapesDiffer(f"{name} has shape {tuple(present.shape)}, but {type(how).__name__} makes {tuple(made.shape)}.")
    if leaf in derived_of(owner):
        restore(model, name)
    put(owner, leaf, how)
    return how


def put(owner: nn.Module, leaf: str, how: nn.Module) -> None:
    """Derive one tensor of one module, unchecked."""
    order = tuple(owner._parameters)
    del owner._parameters[leaf]
    if HOLDER not in owner._modules:
        owner.add_module(HOLDER, nn.ModuleDict())
        owner.__class__ = _with_properties(type(owner), order)
    cast("nn.ModuleDict", owner._modules[HOLDER])[leaf] = how
    type(owner).names.add(leaf)  # type: ignore[attr-defined]
    setattr(type(owner), leaf, property(partial(_used, leaf)))
    if hasattr(how, "given"):
        owner.register_forward_pre_hook(_Tell(leaf))


def restore(model: nn.Module, name: str) -> None:
    """Make a derived tensor an ordinary parameter again, with the values that it has now.

    Raises:
        BadParameter: it is not derived.
    """
    owner, leaf = owner_of(model, name)
    holder = derived_of(owner)
    if leaf not in holder:
        raise BadParameter(f"{name} is not derived; derived are: {', '.join(d.name for d in derivations(model)) or 'none'}.")
    give_back(owner, leaf, nn.Parameter(getattr(owner, leaf).detach().clone()))


def give_back(owner: nn.Module, leaf: str, tensor: nn.Parameter) -> None:
    """Take a derivation off one module and put a parameter into its place, also in the order of parameters."""
    order: tuple[str, ...] = type(owner).order  # type: ignore[attr-defined]
    undo(owner, leaf)
    owner.register_parameter(leaf, tensor)
    entries = {name: owner._parameters[name] for name in order if name in owner._parameters} | owner._parameters
    owner._parameters.clear()
    owner._parameters.update(entries)


def undo(owner: nn.Module, leaf: str) -> None:
    """Take a derivation off one module; the tensor is gone until the caller puts one there."""
    holder = derived_of(owner)
    del holder[leaf]
    delattr(type(owner), leaf)
    type(owner).names.discard(leaf)  # type: ignore[attr-defined]
    for key, hook in list(owner._forward_pre_hooks.items()):
        if isinstance(hook, _Tell) and hook.leaf == leaf:
            del owner._forward_pre_hooks[key]
    if not holder:
        del owner._modules[HOLDER]
        owner.__class__ = type(owner).__mro__[1]


def derivations(model: nn.Module) -> tuple[Derivation, ...]:
    """Every derived tensor of a model and what it is computed from, in the order of the modules."""
    names = {id(tensor): name for name, tensor in model.named_parameters(remove_duplicate=False)}
    modules = {id(module): name for name, module in model.named_modules()}
    return tuple(
        Derivation(_join(prefix, leaf), type(how).__name__, tuple(_sources(how, names, modules)))
        for prefix, module in model.named_modules()
        for leaf, how in derived_of(module).items()
    )


def derived_of(module: nn.Module) -> nn.ModuleDict:
    """The derivations of one module by tensor."""
    return cast("nn.ModuleDict", module._modules[HOLDER]) if isinstance(module, _Derived) else nn.ModuleDict()


def owner_of(model: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The module that has the tensor, and its name there."""
    prefix, _, leaf = name.rpartition(".")
    modules = dict(model.named_modules())
    owner = modules.get(prefix)
    if owner is None or (owner._parameters.get(leaf) is None and leaf not in derived_of(owner)):
        raise unknown("parameter", name, [*(n for n, _ in model.named_parameters(remove_duplicate=False)), *(d.name for d in derivations(model))])
    return owner, leaf


class _Derived:
    """Mark of a module class with derived tensors."""

    names: set[str]
    order: tuple[str, ...]


class _Tell:
    """Tells a derivation the inputs of its module."""

    def __init__(self, leaf: str) -> None:
        self.leaf = leaf

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        derived_of(module)[self.leaf].given(*inputs)  # type: ignore[operator]


def _with_properties(plain: type, order: tuple[str, ...]) -> type:
    """A class of one module alone, so that its properties are its own; it copies and pickles by its plain class."""
    return type(plain.__name__, (plain, _Derived), {"names": set(), "order": order, "__module__": plain.__module__, "__deepcopy__": _copied})


def _copied(self: nn.Module, memo: dict[int, Any]) -> nn.Module:
    from copy import deepcopy

    twin = cast("nn.Module", object.__new__(type(self).__mro__[1]))
    memo[id(self)] = twin
    twin.__dict__.update(deepcopy(self.__dict__, memo))
    twin.__class__ = _with_properties(type(twin), type(self).order)  # type: ignore[attr-defined]
    for leaf in type(self).names:  # type: ignore[attr-defined]
        type(twin).names.add(leaf)  # type: ignore[attr-defined]
        setattr(type(twin), leaf, property(partial(_used, leaf)))
    return twin


def _used(leaf: str, module: nn.Module) -> Tensor:
    return module._modules[HOLDER]._modules[leaf].forward()  # type: ignore[union-attr]  # a call's hooks would cost more than a slice


def _sources(how: nn.Module, names: dict[int, str], modules: dict[int, str]) -> Iterator[str]:
    for tensor in how.parameters():
        yield names[id(tensor)]
    if (elsewhere := getattr(how, "reads", None)) is not None:
        module, leaf = elsewhere
        yield _join(modules.get(id(module), "?"), leaf)


def _join(prefix: str, leaf: str) -> str:
    return f"{prefix}.{leaf}" if prefix else leaf
