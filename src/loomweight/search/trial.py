"""One thing that was tried."""

from dataclasses import dataclass

from .space import Values


@dataclass(frozen=True)
class Trial:
    """What was tried and what came of it: `values`, or in `failure` why there are none, or neither while it is still open.

    >>> Trial(0, {"weight": 0.5}, values=(0.9,)).finished
    True
    """

    number: int
    parameters: Values
    values: tuple[float, ...] = ()
    failure: str = ""

    @property
    def finished(self) -> bool:
        """True where it has values."""
        return bool(self.values)

    @property
    def open(self) -> bool:
        """True where it was asked and neither told nor failed yet."""
        return not self.values and not self.failure
