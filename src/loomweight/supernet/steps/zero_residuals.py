"""Residual blocks that begin as nothing: the last norm of each has scale 0, so that a deep supernet starts as a shallow one.

Paper: BigNAS: Scaling Up Neural Architecture Search with Big Single-Stage Models (2020, https://arxiv.org/abs/2003.11142), initialization.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ...errors import BadParameter
from ...weights.axes.find import arguments

_NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def zero_residuals(model: nn.Module, example_inputs: Any) -> list[str]:
    """Set the scale of the norm that ends each residual branch to 0: x + norm(f(x)) is x at first.

    The model runs once on the example; a norm counts whose output is added to something computed in fewer operations: of two branches the longer one
    is the block, the other its shortcut, which keeps its scale though a norm may end it. Call it before `elastic`, or on its model.

    Part of: sandwich.

    Args:
        model: changed in place.
        example_inputs: a tensor, a tuple of inputs, or a dict of keyword arguments.

    Returns:
        Names of the norms.

    Raises:
        BadParameter: no norm with a scale ends a residual branch.

    >>> class Block(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.linear, self.norm = nn.Linear(4, 4), nn.LayerNorm(4)
    ...     def forward(self, x):
    ...         return x + self.norm(self.linear(x))
    >>> zero_residuals(nn.Sequential(Block(), Block()), torch.zeros(1, 4))
    ['0.norm', '1.norm']
    """
    args, kwargs = arguments(example_inputs, None)
    watch = _Additions()
    norms = {name: module for name, module in model.named_modules() if isinstance(module, _NORMS) and module.weight is not None}
    hooks = [module.register_forward_hook(watch.ended(name)) for name, module in norms.items()]
    modes = [(module, module.training) for module in model.modules()]
    for module, _ in modes:
        module.training = False
    try:
        with torch.no_grad(), watch:
            model(*args, **kwargs)
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes:
            module.training = mode
    found = [name for name in norms if name in watch.found]
    if not found:
        raise BadParameter("no norm with a scale ends a residual branch of this model; in models whose norms begin a branch, the rule does not apply.")
    with torch.no_grad():
        for name in found:
            norms[name].weight.zero_()  # type: ignore[union-attr]
    return found


class _Additions(TorchDispatchMode):
    """Which norms' outputs are added to something that took fewer operations."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self._steps: dict[int, int] = {}
        self._ends: dict[int, str] = {}
        self._kept: list[Tensor] = []

    def ended(self, name: str) -> Any:
        """A hook that notes what a norm gives."""

        def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
            self._ends[id(output)] = name

        return note

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        seen = [leaf for leaf in tree_leaves((args, kwargs or {})) if isinstance(leaf, Tensor)]
        steps = [self._steps.get(id(leaf), 0) for leaf in seen]
        if func.overloadpacket in (torch.ops.aten.add, torch.ops.aten.add_) and len(seen) == 2 and steps[0] != steps[1]:
            longer = seen[steps.index(max(steps))]
            if name := self._ends.get(id(longer)):
                self.found.add(name)
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._steps[id(leaf)] = 1 + max(steps, default=0)
                self._ends.pop(id(leaf), None)
                self._kept.append(leaf)
        return out
