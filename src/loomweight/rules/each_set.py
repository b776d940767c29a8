"""One number for all sets, or one for each."""

from collections.abc import Callable, Sequence

from ..edits import Edit, PerSet

#: the same for all sets, or one a set
Numbers = float | Sequence[float]


def for_each(make: Callable[[float], Edit], numbers: Numbers) -> Edit:
    """`make(number)` for all sets, or a `PerSet` with one edit for each number.

    >>> from loomweight.edits import Scale
    >>> for_each(Scale, 0.5), for_each(Scale, [0.5, 0.25])
    (Scale(factor=0.5), PerSet(edits=(Scale(factor=0.5), Scale(factor=0.25))))
    """
    return make(numbers) if isinstance(numbers, int | float) else PerSet(tuple(make(number) for number in numbers))
