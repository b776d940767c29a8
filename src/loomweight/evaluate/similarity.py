"""How alike the representations of layers are: centred kernel alignment.

Papers: Similarity of Neural Network Representations Revisited (2019, https://arxiv.org/abs/1905.00414), linear CKA; Do Wide and Deep
Networks Learn the Same Things? Uncovering How Neural Network Representations Vary with Width and Depth (2020,
https://arxiv.org/abs/2010.15327), equation 3, the unbiased HSIC of the debiased form. We differ: its minibatches give a mean of
HSICs of batches; ours add up moments, so the result is that of all examples at once, however they are cut into batches.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import nan, sqrt
from pathlib import Path

import torch
from torch import Tensor

from ..errors import BadParameter
from ..shapes import Float
from ..weights import Weights

# N = examples, P and Q = features of the two sides


def cka(first: Float[Tensor, "n *p"], second: Float[Tensor, "m *q"], *, debiased: bool = False) -> float:
    """Linear CKA of two representations of the same examples, HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) with K = X X^T, L = Y Y^T.

    HSIC is |X^T Y|^2 of centred features, or with `debiased` the unbiased estimate (n > 3), which does not grow with the number of
    features and may be negative. 1 for features that differ by rotation, scale and shift; nan where a side is constant.

    Args:
        first, second: activations, examples along the first axis; other axes are features.
        debiased: see above.

    Raises:
        BadParameter: different numbers of examples; fewer than 2, or 4 where debiased.

    >>> x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])
    >>> round(cka(x, 3 * x.flip(1) + 5), 6)
    1.0
    """
    return similarity([{"first": first}], [{"second": second}], debiased=debiased).values[0][0]


@dataclass(frozen=True)
class Similarity:
    """A matrix of CKA: `values[i][j]` of layer `rows[i]` of the first model and `columns[j]` of the second."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    debiased: bool = False

    def draw(self, path: str | Path) -> Path:
        """The matrix as a picture (png, svg or pdf).

        Raises:
            MissingExtra: matplotlib is not installed.
            OutputError: the file cannot be written.
        """
        from .picture import draw_similarity

        return draw_similarity(self, Path(path))


Batch = Weights | dict[str, Tensor]


def similarity(first: Iterable[Batch], second: Iterable[Batch], *, debiased: bool = False) -> Similarity:
    """CKA between all layers of two models, from batches of their activations.

    Memory holds a features x features matrix for every pair of layers, whatever the number of batches.

    Args:
        first, second: batches in step: each maps layer names to activations (examples, ...) of the same examples in both models,
            such as `[evidence.activations(model, loader, modules="*")]`.
        debiased: see `cka`.

    Raises:
        BadParameter: the batches are not in step; too few examples.

    >>> x = torch.eye(4)
    >>> found = similarity([{"a": x[:2]}, {"a": x[2:]}], [{"b": x[:2]}, {"b": x[2:]}])
    >>> found.rows, found.columns, round(found.values[0][0], 6)
    (('a',), ('b',), 1.0)
    """
    moments: dict[tuple[str, str, str, str], _Pair] = {}
    shifts: dict[tuple[str, str], Tensor] = {}
    for left, right in zip(first, second, strict=True):
        sides = {("first", name): left[name] for name in left} | {("second", name): right[name] for name in right}
        flat = {key: value.reshape(len(value), -1).double() for key, value in sides.items()}
        for key, value in flat.items():  # a shift that HSIC does not see, so that large means cost no digits
            shifts.setdefault(key, value.mean(0))
            flat[key] = value - shifts[key]
        if len(counts := {len(value) for value in flat.values()}) > 1:
            raise BadParameter(f"batches hold different numbers of examples, {sorted(counts)}; both models must see the same ones.")
        for (side, name), x in flat.items():
            for (other, column), y in flat.items():
                if (side, other) == ("first", "second") or (side, name) == (other, column):
                    moments.setdefault((side, name, other, column), _Pair()).add(x, y)
    rows = tuple(dict.fromkeys(name for side, name, other, _ in moments if (side, other) == ("first", "second")))
    columns = tuple(dict.fromkeys(name for side, _, other, name in moments if (side, other) == ("first", "second")))
    alone = {key: moments[(*key, *key)].hsic(debiased) for key in shifts}
    alone = {key: value if value > _least(shifts[key], moments[(*key, *key)].count) else nan for key, value in alone.items()}
    values = tuple(
        tuple(_ratio(moments["first", row, "second", column].hsic(debiased), alone["first", row], alone["second", column]) for column in columns)
        for row in rows
    )
    return Similarity(rows, columns, values, debiased)


def _ratio(both: float, one: float, other: float) -> float:
    return both / sqrt(one) / sqrt(other)


def _least(shift: Tensor, count: int) -> float:
    """HSIC of features that move by 1e-7 of their mean: less is rounding of a constant."""
    return 1e-28 * (count * float(shift @ shift)) ** 2


@dataclass
class _Pair:
    """Sums over examples of what both forms of HSIC need of x and y, in float64."""

    count: int = 0
    products: Tensor = field(default_factory=lambda: torch.zeros(()))  # sum of x y^T
    sums: list[Tensor] = field(default_factory=lambda: [torch.zeros(())] * 2)  # of x, of y
    weighted: list[Tensor] = field(default_factory=lambda: [torch.zeros(())] * 2)  # of x |y|^2, of y |x|^2
    squares: list[float] = field(default_factory=lambda: [0.0] * 3)  # of |x|^2, of |y|^2, of |x|^2 |y|^2

    def add(self, x_NP: Tensor, y_NQ: Tensor) -> None:
        """One batch."""
        long, wide = x_NP.square().sum(1), y_NQ.square().sum(1)
        self.count += len(x_NP)
        self.products = self.products + x_NP.T @ y_NQ
        self.sums = [total + part.sum(0) for total, part in zip(self.sums, (x_NP, y_NQ), strict=True)]
        self.weighted = [self.weighted[0] + wide @ x_NP, self.weighted[1] + long @ y_NQ]
        self.squares = [total + float(part.sum()) for total, part in zip(self.squares, (long, wide, long * wide), strict=True)]

    def hsic(self, debiased: bool) -> float:
        """Up to a factor that CKA does not see."""
        n, (x, y) = self.count, self.sums
        if n < (4 if debiased else 2):
            raise BadParameter(f"CKA needs at least {4 if debiased else 2} examples, found {n}.")
        if not debiased:
            return float((self.products - torch.outer(x, y) / n).square().sum())
        long, wide, both = self.squares
        trace = float(self.products.square().sum()) - both  # of the two kernels' product, their diagonals left out
        ones = (float(x @ x) - long) * (float(y @ y) - wide)
        rows = float(x @ self.products @ y) - float(x @ self.weighted[0]) - float(y @ self.weighted[1]) + both
        return trace + ones / ((n - 1) * (n - 2)) - 2 * rows / (n - 2)
