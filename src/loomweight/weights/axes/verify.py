"""The proof of a table: permuting all units, and scaling those that it says scale, must leave the model's outputs as they are."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from ...errors import BadParameter
from .find import arguments
from .graph import chosen
from .orders import Orders, positions, random_orders
from .outputs import tensors_in
from .table import Axes, Term


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
    """How far a model's outputs move when the units of each space are put into a random order, and when those that scale are scaled.

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
        Space -> largest relative change of an output; 0 and the like for a table that is right. Under "all together" that of all orders
        at once, under "all scaled" that of all scales.

    Raises:
        BadParameter: a space moves the outputs: the table is wrong there, and the message says which and by how much.

    >>> from .find import axes as found
    >>> model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    >>> assert verify(found(model, torch.ones(1, 2)), model, torch.ones(1, 2))["layer.0"] < 1e-12
    """
    args, named = arguments(example, kwargs)
    orders = {name: _not_identical(order) for name, order in random_orders(axes, seed).items()}
    factors = _factors(axes, seed)
    with _moving(model, args, named, outputs, seed) as (moved_by, insists):
        tolerance = max(tolerance, 1e-3) if insists else tolerance
        moved = {name: moved_by(_permuted(axes, {name: orders[name]})) for name in axes.spaces}
        moved["all together"] = moved_by(_permuted(axes, orders))
        _check(moved, tolerance, "exchanging")
        if factors:
            moved["all scaled"] = moved_by(_scaled(axes, factors))
            if not moved["all scaled"] <= tolerance:
                _check({name: moved_by(_scaled(axes, {name: factor})) for name, factor in factors.items()}, tolerance, "scaling")
                _check(moved, tolerance, "scaling")
    return moved


def verify_together(axes: Axes, model: nn.Module, args: tuple[Any, ...], named: Mapping[str, Any], outputs: Callable[[Any], Any] | None = None) -> float:
    """How far a model's outputs move when the units of all spaces are put into random orders at once: `verify` in two runs of the model.

    Raises:
        BadParameter: the outputs move; `verify` says by which space.
    """
    orders = {name: _not_identical(order) for name, order in random_orders(axes, 0).items()}
    with _moving(model, args, named, outputs, 0) as (moved_by, insists):
        moved = moved_by(_permuted(axes, orders))
    _check({"all together": moved}, 1e-3 if insists else 1e-5, "exchanging")
    return moved


@contextmanager
def _moving(
    model: nn.Module, args: tuple[Any, ...], named: Mapping[str, Any], outputs: Callable[[Any], Any] | None, seed: int
) -> Iterator[tuple[Callable[[Callable[[str, Tensor], Tensor]], float], bool]]:
    """(what a change of the tensors does to the outputs of a copy, whether the model insists on its own precision)."""
    twin, doubled, insists = copy.deepcopy(model).double().eval(), (_double(args), _double(named)), False
    try:
        _outputs(twin, *doubled)
        args, named = doubled
    except RuntimeError:
        twin, insists = copy.deepcopy(model).eval(), True
    held = {name: _told_apart(tensor, seed) for name, tensor in twin.state_dict().items()}
    with chosen(twin, outputs):
        twin.load_state_dict(held)
        before = _outputs(twin, args, named)

        def moved_by(change: Callable[[str, Tensor], Tensor]) -> float:
            twin.load_state_dict({name: change(name, tensor) for name, tensor in held.items()})
            return _change(before, _outputs(twin, args, named))

        yield moved_by, insists


def _check(moved: Mapping[str, float], tolerance: float, verb: str) -> None:
    """Raise, and name the first space, where one moves the outputs."""
    if wrong := [name for name, change in moved.items() if not change <= tolerance]:
        (name, *_), way = wrong, "leave `scales` out there" if verb == "scaling" else f"leave it out with without({wrong[0]!r})"
        raise BadParameter(
            f"the axes table is wrong: {verb} the units of {name!r} changes the outputs by {moved[name]:.2g} of the largest"
            f" ({len(wrong)} of {len(moved)} checks fail); look at the lines that name it, or {way}."
        )


def _factors(axes: Axes, seed: int) -> dict[str, Tensor]:
    """Positive numbers for the units of every space that scales."""
    generator = torch.Generator().manual_seed(seed)
    scaling = [name for name, space in axes.spaces.items() if space.scales]
    return {name: (2 * torch.rand(axes.shape(name), generator=generator, dtype=torch.float64) - 1).exp() for name in scaling}


def _scaled(axes: Axes, factors: Mapping[str, Tensor]) -> Callable[[str, Tensor], Tensor]:
    """Every axis times the factors of its units, or divided by them where it consumes them."""

    def change(name: str, tensor: Tensor) -> Tensor:
        for axis, terms in enumerate(axes.layouts[name].axes):
            if any(factor in factors for term in terms for factor in term):
                along = torch.cat([_spread(axes, term, factors) for term in terms])
                along = (1 / along if axis == axes.layouts[name].consumed else along).to(tensor)
                tensor = tensor * along.reshape([-1 if i == axis else 1 for i in range(tensor.ndim)])
        return tensor

    return change


def _spread(axes: Axes, term: Term, factors: Mapping[str, Tensor]) -> Tensor:
    """The factors of a term's spaces along its entries."""
    sizes = axes.sizes(term)
    total = torch.ones(sizes, dtype=torch.float64)
    for place, factor in enumerate(term):
        if factor in factors:
            total = total * factors[str(factor)].reshape([-1 if i == place else 1 for i in range(len(sizes))])
    return total.reshape(-1)


def _not_identical(order: Tensor) -> Tensor:
    """The order, backwards where it moves nothing: of two units half of all orders do not."""
    return torch.where((order == torch.arange(order.shape[-1])).all(-1, keepdim=True), order.flip(-1), order)


def _told_apart(tensor: Tensor, seed: int) -> Tensor:
    """A copy; a tensor whose entries are all one number, as they are at the start of training, would hide a wrong line: it gets others."""
    if tensor.numel() < 2 or not tensor.is_floating_point() or bool((tensor != tensor.flatten()[0]).any()):
        return tensor.clone()
    noise = torch.rand(tensor.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return tensor + (0.1 * noise).to(tensor)


def _permuted(axes: Axes, orders: Orders) -> Callable[[str, Tensor], Tensor]:
    """Every axis in the orders of its units."""

    def change(name: str, tensor: Tensor) -> Tensor:
        for axis, factors in enumerate(axes.layouts[name].axes):
            tensor = tensor.index_select(axis, torch.from_numpy(positions(axes, factors, orders)).to(tensor.device))
        return tensor

    return change


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
