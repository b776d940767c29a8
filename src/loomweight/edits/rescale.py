"""The scale symmetry of ReLU networks: a unit may be multiplied by a positive number and divided by it behind.

Papers: A path-norm toolkit for modern networks: consequences, promises and challenges (2023, https://arxiv.org/abs/2310.01225), which
states the symmetry; Equi-normalization of Neural Networks (2019, https://arxiv.org/abs/1902.10416), whose iteration `balanced` is,
with biases counted among what comes in, and with any table in the place of a chain of layers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ..errors import BadParameter, unknown
from ..shapes import Float
from ..weights import Block, Spec, Weights
from ..weights.axes.rows import unfolded
from ..weights.axes.table import Axes, Axis, Term, Use
from .edit import Edit


@dataclass(frozen=True)
class Rescale(Edit):
    """Every axis that makes a unit times its factor, every axis that consumes it divided by it.

    relu(c x) = c relu(x) for c > 0, so the function of the network stays what it was. Spaces where that is not so (another
    activation, a norm, a softmax behind the units) are refused: fold norms first (`fold_norms`) where they can be.

    Args:
        axes: a traced table: it says of every space whether its units may be scaled (`space.scales`).
        factors: (space, positive numbers of the space's shape) pairs; `Rescale.by` takes a mapping. The other spaces stay.

    Raises:
        UnknownName: no such space.
        BadParameter: the units of a space may not be scaled; factors of another shape, or not positive and finite.

    >>> from loomweight.weights.axes import axes
    >>> model = torch.nn.Sequential(torch.nn.Linear(1, 2, bias=False), torch.nn.ReLU(), torch.nn.Linear(2, 1, bias=False))
    >>> ones = Weights.of({name: torch.ones_like(tensor) for name, tensor in model.state_dict().items()})
    >>> dict(Rescale.by(axes(model, torch.zeros(1, 1)), {"layer.0": torch.tensor([2.0, 4.0])})(ones))
    {'0.weight': tensor([[2.], [4.]]), '2.weight': tensor([[0.5000, 0.2500]])}
    """

    axes: Axes
    factors: tuple[tuple[str, Tensor], ...]

    def __post_init__(self) -> None:
        for name, factor in self.factors:
            _check(self.axes, name, factor)

    @staticmethod
    def by(axes: Axes, factors: Mapping[str, Tensor]) -> "Rescale":
        """From a mapping of spaces to factors."""
        return Rescale(axes, tuple(sorted(factors.items())))

    def over(self, weights: Weights) -> Callable[[str], Block]:
        """Every tensor by the table; one without a scaled axis is passed on as it is."""
        self.axes.fits(weights)
        return lambda name: self.bind(name, weights.spec[name], weights.open(name))

    def bind(self, name: str, spec: Spec, read: Block) -> Block:
        """Times the product of the axes' factors."""
        vectors = _vectors(self.axes, name, dict(self.factors))
        if not any(vector is not None for vector in vectors):
            return read
        width = max(1, prod(spec.shape[1:]))
        lead = None if vectors[0] is None else vectors[0].to(spec.work).unsqueeze(1)
        inner = _product(vectors[1:], spec.shape[1:], spec.work)

        def block(lo: int, hi: int) -> Tensor:
            made = read(lo, hi).to(spec.work).clone()
            for begin, end in _rows(lo, hi, width):
                part = made[begin - lo : end - lo].view(-1, min(width, end - begin))
                if inner is not None:
                    part *= inner[begin % width : begin % width + part.shape[1]].to(made.device)
                if lead is not None:
                    part *= lead[begin // width : begin // width + len(part)].to(made.device)
            return made

        return block


def balanced(axes: Axes, weights: Weights, *, incoming: bool = False, sweeps: int = 200, tolerance: float = 1e-6) -> Rescale:
    """The rescaling after which each unit's incoming and outgoing weights have the same norm,

        c_i = sqrt(|outgoing_i| / |incoming_i|),    or with `incoming`    c_i = 1 / |incoming_i|,

    repeated over all spaces until no factor moves: scaling one layer changes what comes into the next. With equal norms the sum
    of all squared weights is the least that the symmetry allows, a convex problem in log c. Units without incoming or without
    outgoing weights keep their scale.

    Args:
        axes: a traced table; spaces that do not scale stay.
        weights: the set it speaks of.
        incoming: make incoming norms 1 instead. Around a skip connection there may be no such factors.
        sweeps: how often to go over all spaces.
        tolerance: largest relative change of a factor that counts as none.

    Raises:
        BadParameter: the factors do not settle in so many sweeps; the message names the space that moved most.

    >>> from loomweight.weights.axes import axes
    >>> model = torch.nn.Sequential(torch.nn.Linear(1, 2, bias=False), torch.nn.ReLU(), torch.nn.Linear(2, 1, bias=False))
    >>> weights = Weights.of({"0.weight": torch.tensor([[8.0], [1.0]]), "2.weight": torch.tensor([[2.0, 1.0]])})
    >>> dict(balanced(axes(model, torch.zeros(1, 1)), weights)(weights))
    {'0.weight': tensor([[4.], [1.]]), '2.weight': tensor([[4., 1.]])}
    """
    axes.fits(weights)
    factors = {name: torch.ones(axes.shape(name), dtype=torch.float64) for name, space in axes.spaces.items() if space.scales}
    moved: dict[str, float] = {}
    for _ in range(sweeps):
        for name in factors:
            made, eaten = (_squares(axes, weights, name, factors, consumed).sqrt() for consumed in (False, True))
            change = 1 / made if incoming else (eaten / made).sqrt()
            change = change.where((made > 0) & (eaten > 0), 1.0)
            factors[name] = factors[name] * change
            moved[name] = float(change.log().abs().max()) if change.numel() else 0.0
        if max(moved.values(), default=0.0) <= tolerance:
            return Rescale.by(axes, factors)
    worst = max(moved, key=lambda name: moved[name])
    raise BadParameter(
        f"the scales of space {worst!r} still change by {moved[worst]:.2g} after {sweeps} sweeps; give more sweeps or a larger tolerance"
        + (", or balance both norms: around a skip connection incoming norms of 1 need not exist." if incoming else ".")
    )


def _check(axes: Axes, name: str, factor: Tensor) -> None:
    if name not in axes.spaces:
        raise unknown("space", name, axes.spaces)
    if not axes.spaces[name].scales:
        raise BadParameter(f"the units of space {name!r} may not be scaled: what follows them is not positively homogeneous, or the table was not traced.")
    if tuple(factor.shape) != axes.shape(name) or not bool((factor > 0).all() and factor.isfinite().all()):
        found = f"shape {tuple(factor.shape)}" if tuple(factor.shape) != axes.shape(name) else "others"
        raise BadParameter(f"the factors of space {name!r} must be positive finite numbers of shape {axes.shape(name)}, found {found}.")


def _vectors(axes: Axes, tensor: str, factors: Mapping[str, Tensor]) -> list[Tensor | None]:
    """What every axis of a tensor is multiplied by; None: nothing."""
    layout = axes.layouts[tensor]
    found: list[Tensor | None] = []
    for number, axis in enumerate(layout.axes):
        touched = any(factor in factors for term in axis for factor in term)
        vector = _along(axes, axis, factors) if touched else None
        found.append(1 / vector if vector is not None and number == layout.consumed else vector)
    return found


def _product(vectors: list[Tensor | None], shape: tuple[int, ...], dtype: torch.dtype) -> Tensor | None:
    """What every entry of a row is multiplied by, the axes multiplied out; None: nothing."""
    total = None
    for axis, vector in enumerate(vectors):
        if vector is not None:
            wide = vector.reshape([-1 if i == axis else 1 for i in range(len(shape))])
            total = wide if total is None else total * wide
    return None if total is None else total.expand(shape).reshape(-1).to(dtype)


def _rows(lo: int, hi: int, width: int) -> list[tuple[int, int]]:
    """[lo, hi) as the rest of a row, whole rows, and the beginning of a row.

    >>> _rows(2, 11, 4), _rows(1, 3, 4), _rows(4, 8, 4)
    ([(2, 4), (4, 8), (8, 11)], [(1, 3)], [(4, 8)])
    """
    first = min(hi, -(-lo // width) * width)
    last = max(first, hi // width * width)
    return [(begin, end) for begin, end in ((lo, first), (first, last), (last, hi)) if begin < end]


def _along(axes: Axes, axis: Axis, factors: Mapping[str, Tensor]) -> Float[Tensor, " n"]:
    return torch.cat([_of_term(axes, term, factors) for term in axis])


def _of_term(axes: Axes, term: Term, factors: Mapping[str, Tensor]) -> Float[Tensor, " n"]:
    """The factors of a term's spaces, spread over its other factors. Spaces that scale lie in no other."""
    sizes = axes.sizes(term)
    total = torch.ones(sizes, dtype=torch.float64)
    for place, factor in enumerate(term):
        if factor in factors:
            total = total * factors[str(factor)].double().cpu().reshape([-1 if i == place else 1 for i in range(len(sizes))])
    return total.reshape(-1)


def _squares(axes: Axes, weights: Weights, space: str, factors: Mapping[str, Tensor], consumed: bool) -> Float[Tensor, " n"]:
    """Sum of squares, by unit, of what the rescaled tensors hold on the axes that make a space, or that consume it."""
    total = torch.zeros(axes.shape(space), dtype=torch.float64)
    for use in _physical(axes, weights, space):
        if (axes.layouts[use.tensor].consumed == use.axis) == consumed and weights.spec[use.tensor].averages:
            tensor = weights[use.tensor].double()
            for axis, vector in enumerate(_vectors(axes, use.tensor, factors)):
                if vector is not None:
                    tensor = tensor * vector.reshape([-1 if i == axis else 1 for i in range(tensor.ndim)])
            total += unfolded(axes, tensor, use).square().sum(-1)
    return total


def _physical(axes: Axes, weights: Weights, space: str) -> list[Use]:
    return [use for use in axes.uses(space) if use.tensor not in weights.ties]
