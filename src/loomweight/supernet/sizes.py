"""Sizes as values say them, and what follows from them: attributes of modules that repeat a size."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from ..weights.axes import Axes, Axis


def size_of(value: Any, whole: int) -> int:
    """A number of units; a number with a point is a share of the whole.

    >>> size_of(3, 8), size_of(0.5, 8), size_of(1.0, 8)
    (3, 4, 8)
    """
    return round(value * whole) if isinstance(value, float) else int(value)


@dataclass(frozen=True)
class Size:
    """A size that follows from those of spaces: a sum of products, as an axis is.

    Args:
        axis: its terms.
        whole: space -> its full size.
        field: space -> the field that says how many of it are used.
    """

    axis: Axis
    whole: Mapping[str, int]
    field: Mapping[str, str]

    def __call__(self, values: Mapping[str, Any]) -> int:
        return sum(prod(self._factor(factor, values) for factor in term) for term in self.axis)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields that it depends on."""
        return tuple(dict.fromkeys(self.field[factor] for term in self.axis for factor in term if isinstance(factor, str) and factor in self.field))

    def _factor(self, factor: int | str, values: Mapping[str, Any]) -> int:
        if isinstance(factor, int):
            return factor
        return size_of(values[self.field[factor]], self.whole[factor]) if factor in self.field else self.whole[factor]

    def __hash__(self) -> int:
        return hash(self.axis)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Size) and self.axis == other.axis


def sizes_from(axes: Axes, fields: Mapping[str, str]) -> Callable[[Axis], Size]:
    """Makes sizes of axes of one table."""
    whole = {name: space.size for name, space in axes.spaces.items()}
    return lambda axis: Size(axis, whole, fields)
