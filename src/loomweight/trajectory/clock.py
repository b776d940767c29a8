"""When an average is due: in samples, so that nothing changes when the batch does."""

from dataclasses import asdict, dataclass, replace
from math import isfinite, nan
from typing import Self, SupportsFloat

from ..errors import BadParameter


@dataclass(frozen=True)
class Clock:
    """How far the run is, and what has not been handed to the average yet.

    Args:
        start: samples of the run that are left out at its beginning.
        every: at least so many samples lie between two points that are averaged; 0 takes every one.
        run: samples of the run so far.
        pending: samples since the last point.

    >>> clock, due = Clock(start=10, every=4).after(12)
    >>> due, clock.pending
    (0.0, 2.0)
    >>> clock.after(3)[1]
    5.0
    """

    start: float = 0.0
    every: float = 0.0
    run: float = 0.0
    pending: float = 0.0

    def __post_init__(self) -> None:
        for word in ("start", "every"):
            if not (isfinite(getattr(self, word)) and getattr(self, word) >= 0):
                raise BadParameter(f"{word} must be a finite number of samples, at least 0, found {getattr(self, word)}.")

    @classmethod
    def of(cls, start: float, every: float, length: float | None) -> Self:
        """Where the run's length is known, in samples, `start` is a share of it.

        Raises:
            BadParameter: a share outside [0, 1).
        """
        if length is None:
            if 0 < start < 1:
                raise BadParameter(f"start={start} is less than one sample; a share of the run needs the run's length: give length=... too.")
            return cls(start, every)
        if not 0 <= start < 1 or not length > 0:
            raise BadParameter(f"with the run's length given, start is a share of it in [0, 1), and the length is positive; found {start} of {length}.")
        return cls(start * length, every)

    def after(self, samples: SupportsFloat) -> tuple["Clock", float]:
        """(the clock after these samples, how many samples the point stands for that is due now; 0 if none is).

        Raises:
            BadParameter: samples is not a positive number.
        """
        new = _number(samples)
        run = self.run + new
        pending = self.pending + min(new, max(0.0, run - self.start))
        due = pending if pending >= self.every else 0.0
        return replace(self, run=run, pending=pending - due), due

    def state(self) -> dict[str, float]:
        """Plain numbers."""
        return asdict(self)


def _number(samples: SupportsFloat) -> float:
    """Tensors and numbers of numpy, which would count on in fewer digits, are taken too."""
    try:
        number = float(samples)
    except (TypeError, ValueError, RuntimeError):
        number = nan
    if not (isfinite(number) and number > 0):
        raise BadParameter(f"an update stands for a positive number of samples, found {samples}.")
    return number
