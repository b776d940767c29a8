"""Parameters are checked where an edit is made."""

from ..errors import BadParameter


def within(edit: object, field: str, low: float, high: float) -> None:
    """Raise unless low <= field <= high; NaN is outside every range.

    Raises:
        BadParameter: it is outside.
    """
    value = getattr(edit, field)
    if not low <= value <= high:
        raise BadParameter(f"{type(edit).__name__}: {field} must be from {low:g} to {high:g}, found {value!r}.")


def one_of(edit: object, field: str, choices: tuple[object, ...]) -> None:
    """Raise unless the field is one of the choices.

    Raises:
        BadParameter: it is none of them.
    """
    value = getattr(edit, field)
    if value not in choices:
        raise BadParameter(f"{type(edit).__name__}: {field} must be one of {', '.join(map(str, choices))}, found {value!r}.")


def share_of(share: float, numel: int) -> int:
    """How many of `numel` entries a share is: the whole part of the product, at least one unless the share is 0.

    >>> share_of(0.2, 7), share_of(0.2, 2), share_of(0, 7)
    (1, 1, 0)
    """
    return min(numel, max(int(share * numel), int(share > 0)))
