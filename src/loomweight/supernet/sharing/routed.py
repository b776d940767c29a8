"""Mixture-of-Supernets: the weights of a subnet are a mixture of experts, and its architecture decides of which.

Paper: Mixture-of-Supernets: Improving Weight-Sharing Supernet Training with Architecture-Routed Mixture-of-Experts
(2023, https://arxiv.org/abs/2306.04845), equations 2 to 4.

Slices of experts are mixed, which gives the same as slicing the mixture and costs what the slice costs. The authors route the feed-forward
layers of a transformer, with a router for each; here patterns say which layers.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...derive import Mixture
from ...derive.derive import HOLDER, derived_of, put, undo
from ...errors import BadParameter, UnknownName
from ...weights.names import listed
from ..beside import adopt
from ..copies import unshared
from ..draft import named_by
from ..elastic import Elastic, Values
from ..parts import Layout
from ..slots import Change, Entry
from ..stored import Assembled, Stored, parameters_of
from .router import Code, Router, Rows


@dataclass(frozen=True)
class Routing:
    """The routers of a mixture of supernets.

    Part of: mixture_of_supernets.

    Args:
        net: the elastic model.
        routers: module -> its router.
    """

    net: Elastic
    routers: dict[str, Router]

    def coefficients(self, values: Values) -> dict[str, Tensor]:
        """Module -> (experts,) or (neurons, experts): how a configuration mixes them."""
        with self.net.selected(values), torch.no_grad():
            return {name: router.forward() for name, router in self.routers.items()}


def mixture_of_supernets(
    net: Elastic,
    experts: int = 2,
    where: Sequence[str] = ("*",),
    *,
    per: Literal["layer", "neuron"] = "layer",
    hidden: int = 64,
    noise: float = 0.0,
    seed: int = 0,
) -> Routing:
    """Give layers several weights, mixed by a router that sees the encoding of the configuration.

    weight(a) = sum over k of r_k(a) x expert k, with r(a) = softmax(W2 relu(W1 code(a) + b1) + b2); a layer's bias has the same
    coefficients. Experts and routers are parameters of the net; an exported subnet has its mixed weights and neither of them.

    Args:
        net: changed in place; optimizers have to be made anew.
        experts: weights of each layer; the first one is the present weight.
        where: patterns of names of layers (or of what they lie in); layers are modules with a matrix or a kernel.
        per: one set of coefficients for a layer, or one for each output neuron.
        hidden: units of each router.
        noise: the others start at the present weight plus normal noise of this many standard deviations of it. At 0 all start alike,
            and the net computes what it did before.
        seed: of routers and noise.

    Raises:
        UnknownName: a pattern names no layer.
        BadParameter: fewer than two experts, a weight is shared, derived or has copies, or its neurons are not its first axis.

    >>> from loomweight.supernet import elastic
    >>> net = elastic(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), "width 0 : 2 8", torch.zeros(1, 4))
    >>> routing = mixture_of_supernets(net, experts=3, where=["2"])
    >>> routing.coefficients(net.min())["2"].shape, net.cost(net.min()).params, list(net.export(net.min()).state_dict())
    (torch.Size([3]), 16, ['0.weight', '0.bias', '2.weight', '2.bias'])
    """
    if experts < 2 or hidden < 1:
        raise BadParameter(f"a mixture needs at least 2 experts and a router at least 1 hidden unit, found {experts} and {hidden}.")
    code, new = Code(net), _New({}, [], [])
    routers: dict[str, Router] = {}
    with net.selected(net.max()):
        for number, (name, layer) in enumerate(_layers(net, where).items()):
            unshared(net, [f"{name}.{key}" if name else key for key in _own(layer)])
            tensors = {key: net.stored()[f"{name}.{key}" if name else key] for key in _own(layer)}
            rows = _neurons(name, layer, tensors) if per == "neuron" else 0
            router = routers[name] = Router(code, (len(code()), hidden, experts), rows, seed + number).to(next(iter(tensors.values())).tensor.device)
            new.stored |= {f"routers.{name}.{key}": Stored(f"routers.{name}.{key}", tensor) for key, tensor in router.named_parameters()}
            for key, one in tensors.items():
                _mix(layer, key, one, _experts(one, experts, noise, seed + number), Rows(router), new)
    adopt(net, new.stored, new.changes, without=new.gone)
    return Routing(net, routers)


@dataclass
class _New:
    """What the elastic model is to take in."""

    stored: dict[str, Stored]
    changes: list[Change]
    gone: list[Entry]


def _layers(net: Elastic, where: Sequence[str]) -> dict[str, nn.Module]:
    """Modules with a matrix or a kernel that a pattern names; none of their tensors is shared."""
    modules = {name: module for name, module in net.model.named_modules() if HOLDER not in name.split(".")}
    layers = {name: module for name, module in modules.items() if any(getattr(module, key).ndim > 1 for key in _own(module))}
    if missing := [pattern for pattern in where if not any(named_by(name, pattern) for name in layers)]:
        raise UnknownName(f"{missing[0]!r} names no layer with a weight to mix; there are: {listed(list(layers)) if layers else 'none'}.")
    found = {name: module for name, module in layers.items() if any(named_by(name, pattern) for pattern in where)}
    uses = [id(one) for one in net.stored().values()]
    for name, module in found.items():
        for key in _own(module):
            if uses.count(id(net.stored().get(f"{name}.{key}" if name else key))) != 1:
                raise BadParameter(f"{name}.{key} is shared with another layer; leave {name} out of `where`.")
    return found


def _own(module: nn.Module) -> list[str]:
    """A module's own tensors that are trained, as they are used."""
    derived = [key for key, how in derived_of(module).items() if isinstance(how, Assembled)]
    return [*(key for key, tensor in module._parameters.items() if tensor is not None), *derived]


def _neurons(name: str, layer: Any, tensors: dict[str, Stored]) -> int:
    rows = {one.tensor.shape[0] for one in tensors.values()}
    if isinstance(layer, nn.Embedding) or getattr(layer, "transposed", False) or type(layer).__name__ == "Conv1D" or len(rows) > 1:
        raise BadParameter(f"the neurons of {name} ({type(layer).__name__}) are not the first axis of all its tensors; leave it out, or mix it per layer.")
    return rows.pop()


def _experts(one: Stored, count: int, noise: float, seed: int) -> list[Stored]:
    whole, made = one.tensor.detach(), [one]
    draw = torch.Generator().manual_seed(seed)
    for k in range(1, count):
        apart = noise * (whole.float().std(correction=0).item() if noise else 0.0) * torch.randn(whole.shape, generator=draw)
        tensor = nn.Parameter(whole + apart.to(whole), one.tensor.requires_grad)
        made.append(Stored(f"experts.{k}.{one.name}", tensor, one.layout))
    return made


def _mix(layer: nn.Module, key: str, one: Stored, experts: list[Stored], rows: Rows, new: _New) -> None:
    """Put a mixture where the tensor is used; each expert is sliced as the tensor was."""
    layout = one.layout if one.layout and one.layout.fields else Layout((), ())
    hows = [Assembled(expert.tensor, layout) for expert in experts]  # type: ignore[arg-type]
    if key in derived_of(layer):
        undo(layer, key)
        layer.register_parameter(key, one.tensor)  # type: ignore[arg-type]
    put(layer, key, Mixture(hows, rows))
    new.stored |= {expert.name: expert for expert in experts}
    new.gone.append((id(layer), "_parameters", key))
    if layout.parts:
        for how, expert in zip(hows, experts, strict=True):
            new.changes += _slices(how, expert, layout)
        if rows.router.rows:
            new.changes.append(Change(rows, "__dict__", "used", layout.fields, _rows(one, layout)))


def _slices(how: Assembled, expert: Stored, layout: Layout) -> Iterator[Change]:
    count = len(layout.parts)

    def entry(key: str) -> Callable[[Any], Any]:
        return lambda values: parameters_of(expert.pieces(values), count)[key]

    for key in ("stored", *(f"part_{i}" for i in range(count))):
        yield Change(how, "_parameters", key, layout.fields, entry(key))


def _rows(one: Stored, layout: Layout) -> Callable[[Any], Tensor]:
    """Which rows of the stored tensor a subnet uses."""

    def make(values: Any) -> Tensor:
        whole = one.tensor
        numbers = torch.arange(whole.shape[0], device=whole.device).view(-1, *(1,) * (whole.ndim - 1)).expand(whole.shape)
        used = layout.assembled([part.view(numbers, part.region(values)) for part in layout.parts])
        return used.flatten(1)[:, 0] if used.ndim > 1 else used

    return make
