"""An optimizer that pays for what was used: a step touches the entries of the subnets that ran, and no others."""

from collections.abc import Callable, Iterable, Iterator
from itertools import combinations
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BadParameter, NonFinite
from .elastic import Elastic
from .guard import Allowed
from .parts import Part, cells
from .stored import Leaf, Stored

#: their state of entries that were never used is not zero, or is not kept entry by entry
_REFUSED = ("LBFGS", "Rprop", "SparseAdam", "Adafactor", "Muon", "ASGD")


class SubnetOptimizer(torch.optim.Optimizer):
    """Steps an optimizer of torch on the parts of an elastic model that were used since gradients were cleared.

    Entries outside them keep their values, their momentum and their weight: nothing decays, nothing drifts. State is kept for the
    whole tensors and read through the same views. Adam's count of steps is one for each tensor, as it is without us. Hooks for
    steps are those of the optimizer, and are given it.

    Args:
        net: the elastic model.
        optimizer: any of torch's that works entry by entry, made with `net.parameters()` or groups of them; its groups are shared, so
            learning rate schedules work on either of the two.

    Raises:
        BadParameter: the optimizer does not work entry by entry, or holds other parameters.

    >>> from loomweight.supernet import elastic
    >>> net = elastic(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), "width 0 : 2 8", torch.zeros(1, 4))
    >>> optimizer = SubnetOptimizer(net, torch.optim.AdamW(net.parameters(), lr=0.1))
    >>> before = net.state_dict()["0.weight"].clone()
    >>> net.select(net.min())(torch.ones(1, 4)).sum().backward()
    >>> optimizer.step()
    >>> changed = (net.state_dict()["0.weight"] != before).any(1)
    >>> bool(changed[2:].any())
    False
    """

    def __init__(self, net: Elastic, optimizer: torch.optim.Optimizer) -> None:
        if type(optimizer).__name__ in _REFUSED:
            raise BadParameter(f"{type(optimizer).__name__} does not work entry by entry; use SGD, Adam, AdamW, NAdam, RAdam, RMSprop, Adagrad or Adadelta.")
        self.net, self.inner = net, optimizer
        self._stored = {id(one.tensor): one for one in net.stored().values()}
        self._count = len(net.stored())
        self._views: dict[Leaf, tuple[dict[str, Any], dict[str, Any]]] = {}
        self._refuse_foreign(p for group in optimizer.param_groups for p in group["params"])
        self.defaults = optimizer.defaults
        self._optimizer_step_pre_hooks = optimizer._optimizer_step_pre_hooks  # type: ignore[assignment]
        self._optimizer_step_post_hooks = optimizer._optimizer_step_post_hooks  # type: ignore[assignment]

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The groups of the optimizer."""
        return self.inner.param_groups

    @property
    def state(self) -> Any:  # type: ignore[override]
        """The state of the optimizer, by whole parameter."""
        return self.inner.state

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step on everything that has a gradient."""
        if len(self.net.stored()) != self._count:
            raise BadParameter("the elastic model has taken in parameters since this optimizer was made; make a new one.")
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups = self.inner.param_groups
        whole = [group["params"] for group in groups]
        lent: list[tuple[Leaf, Any]] = []
        Allowed.now = True
        try:
            for group in groups:
                chosen: list[Tensor] = []
                for tensor in group["params"]:
                    leaves = list(united(self._stored[id(tensor)])) if tensor.requires_grad else []
                    chosen += [leaf.tensor for leaf in leaves]
                    lent += [(leaf, self._lend(leaf, alone=len(leaves) == 1)) for leaf in leaves if leaf.part is not None]
                group["params"] = chosen
            self.inner.step()
        finally:
            Allowed.now = False
            for group, params in zip(groups, whole, strict=True):
                group["params"] = params
            for leaf, before in lent:
                self._take_back(leaf, before)
            if any(group.get("fused") for group in groups):
                self.net._statistics.forget()
        return loss

    @torch.no_grad()
    def clip(self, most: float) -> float:
        """Scale what the subnets' gradients add up to, so that its norm is at most `most`; the norm that it had.

        It stands for torch's `clip_grad_norm_`, which would see the gradients of whole tensors alone.

        Raises:
            NonFinite: the norm is NaN or infinite.
        """
        held = (self._stored[id(tensor)] for group in self.inner.param_groups for tensor in group["params"])
        leaves = [leaf.tensor for one in held for leaf in united(one)]
        norm = nn.utils.get_total_norm([leaf.grad for leaf in leaves if leaf.grad is not None])
        if not isfinite(norm):
            raise NonFinite(f"the norm of the gradients is {float(norm)}; leave this batch out, or lower the learning rate.")
        nn.utils.clip_grads_with_norm_(leaves, most, norm)
        return float(norm)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of all subnets."""
        for one in self._stored.values():
            one.clear(set_to_none)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """To the optimizer; parameters of the elastic model only."""
        given = param_group["params"]
        self._refuse_foreign([given] if isinstance(given, Tensor) else (given := list(given)))
        self.inner.add_param_group(param_group | {"params": given})

    def _refuse_foreign(self, parameters: Iterable[Any]) -> None:
        if foreign := [p for p in parameters if id(p) not in self._stored]:
            raise BadParameter(f"the optimizer holds {len(foreign)} parameters that are not the elastic model's; give them an optimizer of their own.")

    def state_dict(self) -> dict[str, Any]:
        """That of the optimizer: state of whole tensors."""
        return self.inner.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Into the optimizer."""
        self.inner.load_state_dict(state_dict)
        self._views.clear()

    def __repr__(self) -> str:
        return f"SubnetOptimizer({self.inner!r})"

    def _lend(self, leaf: Leaf, *, alone: bool) -> dict[str, Any]:
        """State of a leaf: views of the whole tensor's state. Numbers are copied where several leaves of one tensor step at once."""
        whole = self.inner.state.get(leaf.stored.tensor)
        if not whole:
            return {}
        known = self._views.get(leaf)
        if known is None or any(known[0].get(key) is not value for key, value in whole.items()):
            made = {key: leaf.view(value) if _entrywise(value, leaf) else value for key, value in whole.items()}
            known = self._views[leaf] = (dict(whole), made)
        made = known[1] if alone else {key: value.clone() if isinstance(value, Tensor) and value.ndim == 0 else value for key, value in known[1].items()}
        self.inner.state[leaf.tensor] = made
        return dict(made)

    def _take_back(self, leaf: Leaf, before: dict[str, Any]) -> None:
        state = self.inner.state.pop(leaf.tensor, None)
        if not state:
            return
        whole = self.inner.state[leaf.stored.tensor]
        for key, value in state.items():
            mine = whole.get(key)
            if value is before.get(key) and (value is mine or _entrywise(mine, leaf)):
                continue
            self._views.pop(leaf, None)
            if not isinstance(value, Tensor) or value.ndim == 0:
                whole[key] = value
            elif value.shape == leaf.tensor.shape:
                full = whole.get(key)
                if full is None:
                    full = whole[key] = torch.zeros_like(leaf.stored.tensor, dtype=value.dtype)
                leaf.view(full).copy_(value)
            else:
                kind = type(self.inner).__name__
                raise BadParameter(f"{kind} keeps {key!r} of shape {tuple(value.shape)} for a part of shape {tuple(leaf.tensor.shape)}: not entry by entry.")


def _entrywise(value: Any, leaf: Leaf) -> bool:
    """True for state that has an entry for each entry of the whole tensor."""
    return isinstance(value, Tensor) and value.ndim > 0 and value.shape == leaf.stored.tensor.shape


def united(stored: Stored) -> Iterator[Leaf]:
    """Leaves with gradients that do not overlap; those inside others are added to them.

    Leaves that overlap without one holding the other are cut along each other's edges, so that what none of them used has no gradient.
    """
    leaves = list(stored.with_gradient())
    if len(leaves) < 2:
        yield from leaves
        return
    leaves.sort(key=lambda leaf: (-leaf.tensor.numel(), leaf.region))  # in one order, so that a resumed run adds up as an uninterrupted one
    kept: list[Leaf] = []
    for leaf in leaves:
        home = next((other for other in kept if other.covers(leaf)), None)
        if home is None:
            kept.append(leaf)
        else:
            home.inside(home.tensor.grad, leaf).add_(leaf.tensor.grad)  # type: ignore[arg-type]
            leaf.tensor.grad = None
    for part in {id(leaf.part): leaf.part for leaf in kept}.values():
        mine = [leaf for leaf in kept if leaf.part is part]
        apart = part is None or not any(_overlap(a, b) for a, b in combinations(mine, 2))
        yield from mine if apart else _cut(stored, part, mine)  # type: ignore[arg-type]


def _overlap(a: Leaf, b: Leaf) -> bool:
    return all(x[0] < y[1] and y[0] < x[1] for x, y in zip(a.region, b.region, strict=True))


def _cut(stored: Stored, part: Part, leaves: list[Leaf]) -> list[Leaf]:
    """Leaves of one part as smaller ones that do not overlap, with the sums of their gradients."""
    found = []
    for region in cells([leaf.region for leaf in leaves]):
        cell = stored.leaf(part, region)
        covering = [leaf for leaf in leaves if leaf.covers(cell)]
        found.append((cell, sum(leaf.inside(leaf.tensor.grad, cell) for leaf in covering)))  # type: ignore[arg-type]
    for leaf in leaves:
        leaf.tensor.grad = None
    for cell, gradient in found:
        cell.tensor.grad = gradient.contiguous()  # type: ignore[union-attr]
    return [cell for cell, _ in found]
