"""Private random numbers from whatever the caller keeps them in."""

from typing import Any

import numpy as np

from ..errors import BadParameter

#: a whole number, a numpy Generator or a `random.Random`
Source = Any


def numbers_of(source: Source) -> np.random.Generator:
    """The given generator, or one seeded by the given number or by bits drawn from a `random.Random`.

    Raises:
        BadParameter: it is none of these.

    >>> numbers_of(0).random() == numbers_of(np.random.default_rng(0)).random()
    True
    """
    if isinstance(source, np.random.Generator):
        return source
    if isinstance(source, int | np.integer) and not isinstance(source, bool) and source >= 0:
        return np.random.default_rng(int(source))
    if bits := getattr(source, "getrandbits", None):
        return np.random.default_rng(bits(64))
    raise BadParameter(f"random numbers come from a whole number from 0, a numpy Generator or a random.Random; found {source!r}.")
