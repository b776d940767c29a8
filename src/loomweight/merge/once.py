"""Weights that are made once, when they are first needed."""

from collections.abc import Callable
from threading import Lock

from ..weights import Weights


class Once:
    """What a function gives, asked of it when it is first needed, by whichever thread.

    >>> import torch
    >>> asked = []
    >>> one = Once(lambda: asked.append(1) or Weights.of({"w": torch.ones(2)}))
    >>> one() is one(), asked
    (True, [1])
    """

    def __init__(self, make: Callable[[], Weights]) -> None:
        self._make = make
        self._made: list[Weights] = []
        self._lock = Lock()

    def __call__(self) -> Weights:
        with self._lock:
            self._made = self._made or [self._make()]
        return self._made[0]
