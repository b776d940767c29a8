"""How two weight sets differ, tensor by tensor."""

from dataclasses import dataclass
from math import sqrt

import torch

from ..engines import current
from ..weights import Weights
from ..weights.algebra import working
from ..weights.gram import products
from ..weights.spec import comparable, spans


@dataclass(frozen=True)
class Change:
    """One tensor that both sets hold. `distance` is |a - b| / |a|, `cosine` the angle's; both are nan where a norm is 0 or not finite."""

    name: str
    equal: bool
    distance: float
    cosine: float
    largest: float


@dataclass(frozen=True)
class Comparison:
    """What `compare` found. `reshaped` holds (name, what the first has, what the second has)."""

    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    reshaped: tuple[tuple[str, str, str], ...]
    changes: tuple[Change, ...]

    @property
    def same(self) -> bool:
        """True where both hold the same names, shapes, dtypes and bits."""
        return not (self.only_first or self.only_second or self.reshaped) and all(change.equal for change in self.changes)


def compare(first: Weights, second: Weights) -> Comparison:
    """Names, shapes, dtypes, and for each common tensor its distance, angle and largest change: one pass over both.

    >>> a, b = Weights.of({"w": torch.tensor([3.0, 4.0])}), Weights.of({"w": torch.tensor([3.0, 4.5])})
    >>> compare(a, b).changes[0].distance
    0.1
    """
    common = [name for name in first.names if name in second]
    reshaped = tuple((name, _header(first, name), _header(second, name)) for name in common if _header(first, name) != _header(second, name))
    like = [name for name in common if first.spec[name].shape == second.spec[name].shape and first.spec[name].averages == second.spec[name].averages]
    changes = tuple(current().map(lambda name: _change(first, second, name), like))
    only_first = tuple(name for name in first.names if name not in second)
    return Comparison(only_first, tuple(name for name in second.names if name not in first), reshaped, changes)


def _header(weights: Weights, name: str) -> str:
    spec = weights.spec[name]
    return f"{str(spec.dtype).removeprefix('torch.')} {list(spec.shape)}"


def _change(first: Weights, second: Weights, name: str) -> Change:
    reads = [working(weights, name) for weights in (first, second)]
    inner, largest, equal = torch.zeros(3, 3, dtype=torch.float64), 0.0, True
    for lo, hi in spans(first.spec[name].numel):
        a, b = (comparable(read(lo, hi)) for read in reads)
        work = torch.promote_types(a.dtype, b.dtype) if a.is_floating_point() else torch.float64
        rows = torch.stack([a.to(work), b.to(work), a.to(work) - b.to(work)])
        inner += products(rows)
        if not torch.equal(rows[0], rows[1]) and not _equal_but_for_nan(rows):
            equal, largest = False, max(largest, float(rows[2].nan_to_num().abs().max()))
    norms = [sqrt(max(float(inner[i, i]), 0.0)) for i in range(3)]
    distance = norms[2] / norms[0] if norms[0] else (0.0 if equal else float("nan"))
    cosine = float(inner[0, 1]) / (norms[0] * norms[1]) if norms[0] and norms[1] else float("nan")
    return Change(name, equal, distance, cosine, largest)


def _equal_but_for_nan(rows: torch.Tensor) -> bool:
    """True where the first two rows are equal, or NaN in the same places."""
    return bool(((rows[0] == rows[1]) | (rows[0].isnan() & rows[1].isnan())).all())
