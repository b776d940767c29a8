"""What all predictors share: checked rows in, numbers in the unit of the labels out."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import BadParameter

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Posterior:
    """What a predictor believes of each row: `mean`, and `spread`, its standard deviation, both in the unit of the labels.

    >>> from loomweight.search import GaussianProcess
    >>> belief = GaussianProcess().fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0]).posterior([[1.0], [9.0]])
    >>> bool(belief.spread[0] < belief.spread[1])
    True
    """

    mean: Array
    spread: Array


Learned = Callable[[Array], Posterior]


class Predictor(ABC):
    """Learns from rows and labels. A frozen dataclass of its configuration; what it has learned is no part of its equality.

    A predictor whose class has no uncertainty gives NaN as its spread.

    >>> from loomweight.search import Ridge
    >>> Ridge(0.1).fit([[0.0], [1.0], [2.0]], [1.0, 2.0, 3.0]).predict([[3.0]]).round(1)
    array([3.9])
    """

    _learned: Learned | None = None
    _columns: int = 0

    @abstractmethod
    def learn(self, x: Array, y: Array) -> Learned:
        """The function from rows to beliefs that (n, d) rows and n labels lead to; x and y are finite and not to be written into."""

    def fit(self, x: Any, y: Any) -> Self:
        """Learn from n encoded configurations, `x` of shape (n, d), and their values `y`; what was learned before is forgotten.

        Raises:
            BadParameter: fewer than 2 rows, other lengths, or NaN or Inf among them.
        """
        rows, labels = table(x, "x"), np.asarray(y, dtype=np.float64).reshape(-1)
        if len(rows) != len(labels):
            raise BadParameter(f"every row needs its label: x has {len(rows)} rows, y has {len(labels)} values.")
        if len(rows) < 2:
            raise BadParameter(f"a predictor learns from at least 2 labelled rows, found {len(rows)}.")
        if bad := np.flatnonzero(~np.isfinite(labels)).tolist():
            raise BadParameter(f"y[{bad[0]}] is {labels[bad[0]]}; leave out the configurations that have no finite value.")
        object.__setattr__(self, "_columns", rows.shape[1])
        object.__setattr__(self, "_learned", self.learn(rows, labels))
        return self

    def predict(self, x: Any) -> Array:
        """The expected value of each row of `x`, in the unit of the labels."""
        return self.posterior(x).mean

    def posterior(self, x: Any) -> Posterior:
        """The expected value of each row and its standard deviation.

        Raises:
            BadParameter: nothing was learned yet, or the rows are of another length.
        """
        if self._learned is None:
            raise BadParameter(f"{self} has learned nothing yet; call fit(x, y) first.")
        rows = table(x, "x")
        if rows.shape[1] != self._columns:
            raise BadParameter(f"{type(self).__name__} learned from rows of {self._columns} numbers, found rows of {rows.shape[1]}.")
        return self._learned(rows)


def table(x: Any, name: str) -> Array:
    """Rows of numbers as a finite float64 matrix.

    Raises:
        BadParameter: it is no matrix, or holds NaN or Inf.
    """
    rows = np.asarray(x, dtype=np.float64)
    if rows.ndim != 2:
        raise BadParameter(f"{name} is a table, a row a configuration; found shape {rows.shape}.")
    if not np.isfinite(rows).all():
        row, column = np.argwhere(~np.isfinite(rows))[0].tolist()
        raise BadParameter(f"{name}[{row}, {column}] is {rows[row, column]}; predictors take finite numbers only.")
    return rows


@dataclass(frozen=True)
class Scale:
    """Shift and stretch of columns so that the rows it was made from have mean 0 and standard deviation 1; constant columns are only shifted."""

    shift: Array
    stretch: Array

    @classmethod
    def of(cls, values: Array) -> "Scale":
        """Of a table, column by column, or of a vector."""
        spread = values.std(axis=0)
        return cls(np.asarray(values.mean(axis=0)), np.asarray(np.where(spread > 1e-12, spread, 1.0)))

    def apply(self, values: Array) -> Array:
        """Into standard units."""
        return (values - self.shift) / self.stretch

    def undo(self, belief: Posterior) -> Posterior:
        """Beliefs of a vector's standardised values, back in its unit."""
        return Posterior(belief.mean * self.stretch + self.shift, belief.spread * self.stretch)
