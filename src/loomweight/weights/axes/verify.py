"""The proof of a table: permuting all units must leave the model's outputs as they are."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from ...errors import BadParameter
from .find import arguments
from .graph import chosen
from .orders import Orders, positions, random_orders
from .outputs import tensors_in
from .table import Axes


def verify(
    axes: Axes,
    model: nn.Module,
    example: Any,
    kwargs: Mapping[str, Any] | None = None,
    *,
    outputs: Callable[[Any], Any] | None = None,
    seed: int = 0,
    tolerance: float = 1e-5,
) -> dict[str, float]:
    """How far a model's outputs move when the units of each space are put into a random order.

    In float64, on a copy whose constant tensors (norms and biases of a new model) are told apart, since exchanging equal entries proves
    nothing; a model that insists on another precision is run in its own, and then changes up to 1e-3 are taken for rounding.

    Args:
        axes: the table.
        model: is left as it was; a copy is permuted.
        example: inputs, as for `axes`. Outputs should not be constant on them.
        outputs: what of the model's output counts, as for `axes`.
        seed: of the orders.
        tolerance: largest change, relative to the largest output, that is rounding (models that compute in float32 on the way are not exact).

    Returns:
        Space -> largest relative change of an output; 0 and the like for a table that is right.

    Raises:
        BadParameter: a space moves the outputs: the table is wrong there, and the message says which and by how much.

    >>> from .find import axes as found
    >>> model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    >>> assert verify(found(model, torch.ones(1, 2)), model, torch.ones(1, 2))["layer.0"] < 1e-12
    """
    args, named = arguments(example, kwargs)
    twin, doubled = copy.deepcopy(model).double().eval(), (_double(args), _double(named))
    try:
        _outputs(twin, *doubled)
        args, named = doubled
    except RuntimeError:
        twin, tolerance = copy.deepcopy(model).eval(), max(tolerance, 1e-3)
    held = {name: _told_apart(tensor, seed) for name, tensor in twin.state_dict().items()}
    orders = {name: _not_identical(order) for name, order in random_orders(axes, seed).items()}
    checks = {**{name: {name: orders[name]} for name in axes.spaces}, "all together": orders}
    moved = {}
    with chosen(twin, outputs):
        twin.load_state_dict(held)
        before = _outputs(twin, args, named)
        for name, check in checks.items():
            _load(twin, axes, held, check)
            moved[name] = _change(before, _outputs(twin, args, named))
    if wrong := {name: change for name, change in moved.items() if not change <= tolerance}:
        name, change = next(iter(wrong.items()))
        raise BadParameter(
            f"the axes table is wrong: exchanging the units of {name!r} changes the outputs by {change:.2g} of the largest"
            f" ({len(wrong)} of {len(moved)} checks fail); look at the lines that name it, or leave it out with without({name!r})."
        )
    return moved


def _not_identical(order: Tensor) -> Tensor:
    """The order, backwards where it moves nothing: of two units half of all orders do not."""
    return torch.where((order == torch.arange(order.shape[-1])).all(-1, keepdim=True), order.flip(-1), order)


def _told_apart(tensor: Tensor, seed: int) -> Tensor:
    """A copy; a tensor whose entries are all one number, as they are at the start of training, would hide a wrong line: it gets others."""
    if tensor.numel() < 2 or not tensor.is_floating_point() or bool((tensor != tensor.flatten()[0]).any()):
        return tensor.clone()
    noise = torch.rand(tensor.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return tensor + (0.1 * noise).to(tensor)


def _load(twin: nn.Module, axes: Axes, held: Mapping[str, Tensor], orders: Orders) -> None:
    state = {}
    for name, tensor in held.items():
        for axis, factors in enumerate(axes.layouts[name].axes):
            tensor = tensor.index_select(axis, torch.from_numpy(positions(axes, factors, orders)).to(tensor.device))
        state[name] = tensor
    twin.load_state_dict(state)


def _outputs(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Tensor]:
    with torch.no_grad():
        return tensors_in(model(*args, **kwargs))


def _change(before: list[Tensor], after: list[Tensor]) -> float:
    return max(map(_apart, before, after), default=0.0)


def _apart(before: Tensor, after: Tensor) -> float:
    """Of the largest finite entry; infinite where the outputs are not even of one shape, or one of them alone is NaN or Inf."""
    if before.shape != after.shape:
        return float("inf")
    wide = torch.complex128 if before.is_complex() else torch.float64
    old, new = before.to(wide), after.to(wide)
    same = (old == new) | (old.isnan() & new.isnan())
    size = old[old.isfinite()].abs().max() if old.isfinite().any() else old.new_zeros(()).abs()
    moved = ((new - old).abs() / size.clamp_min(1e-30)).masked_fill(same, 0).nan_to_num(float("inf"), float("inf"))
    return float(moved.max()) if moved.numel() else 0.0


def _double(value: Any) -> Any:
    return tree_map(lambda leaf: leaf.double() if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf, value)
