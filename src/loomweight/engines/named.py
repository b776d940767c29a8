"""An engine by its name, for command lines."""

from collections.abc import Callable

from ..errors import BadParameter, unknown
from .engine import Engine
from .inline import Inline
from .ray import Ray
from .threads import Threads

_COUNTED: dict[str, Callable[..., Engine]] = {"threads": Threads, "ray": Ray}


def engine_named(words: str) -> Engine:
    """`inline`, `threads` or `ray`; the last two with a number of workers after a colon, else one a core.

    Raises:
        UnknownName: there is no such engine.
        BadParameter: the number is none, or the engine takes none.

    >>> engine_named("threads:3"), engine_named("inline")
    (Threads(count=3), Inline())
    """
    name, colon, count = words.partition(":")
    if name not in ("inline", *_COUNTED):
        raise unknown("engine", name, ("inline", *_COUNTED))
    if name == "inline" and not colon:
        return Inline()
    if name == "inline" or (colon and not (count.isascii() and count.isdigit() and int(count))):
        raise BadParameter(f"an engine is inline, threads, ray, threads:N or ray:N with N of at least 1; found {words!r}.")
    return _COUNTED[name](int(count)) if colon else _COUNTED[name]()
