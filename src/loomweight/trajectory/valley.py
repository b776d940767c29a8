"""Where a run's averaging begins and ends, told by validation losses as they come.

Paper: SWAD: Domain Generalization by Seeking Flat Minima (2021, https://arxiv.org/abs/2102.08604), algorithm 1.
Original code: khanrc/swad at commit 252190e, domainbed/swad.py. We follow the paper. The code, with its defaults, also takes earlier points
below the threshold, counts the first one twice then, and leaves out a run's last points where they lie above it.
"""

from dataclasses import dataclass
from math import isfinite

from ..errors import BadParameter


@dataclass
class Valley:
    """The stretch of points from the loss's first lasting low to its lasting rise; points are counted from 0.

    It starts at the first point i whose loss is the least of the N_s points from it on. Then the threshold is r times the mean of these losses, and
    the valley ends before the first N_e points in a row that all lie above it.

    Args:
        patience: N_s.
        tolerance: N_e.
        ratio: r, at least 1.
        losses: those so far.
        start, threshold: None until the start is known.
        end: the last point of the valley, None until it is known.

    Raises:
        BadParameter: one of them is out of range.

    >>> valley = Valley(patience=2, tolerance=2, ratio=1.5)
    >>> [valley.add(loss) for loss in (9.0, 4.0, 4.0, 5.0, 7.0, 8.0)]
    [False, False, False, False, False, True]
    >>> valley.start, valley.threshold, valley.end
    (1, 6.0, 3)
    """

    patience: int = 3
    tolerance: int = 6
    ratio: float = 1.3
    losses: tuple[float, ...] = ()
    start: int | None = None
    threshold: float | None = None
    end: int | None = None

    def __post_init__(self) -> None:
        if self.patience < 1 or self.tolerance < 1 or not (isfinite(self.ratio) and self.ratio >= 1):
            raise BadParameter(f"patience and tolerance are numbers of points, at least 1, and ratio is at least 1; found {self.words}.")

    @property
    def words(self) -> str:
        """The settings."""
        return f"patience={self.patience}, tolerance={self.tolerance}, ratio={self.ratio}"

    def add(self, loss: float) -> bool:
        """The next point's loss; whether the valley is over.

        Raises:
            BadParameter: the loss is negative (a threshold of r times it would lie below it), or not a finite number; it is over already.
        """
        if not (isfinite(loss) and loss >= 0):
            raise BadParameter(f"a validation loss is a finite number, at least 0, since the threshold is {self.ratio} times a mean of losses; found {loss}.")
        if self.end is not None:
            raise BadParameter(f"the valley ended at point {self.end}; there is nothing more to add.")
        self.losses = (*self.losses, float(loss))
        latest = len(self.losses) - 1
        if self.threshold is None:
            window = self.losses[-self.patience :]
            if len(window) == self.patience and window[0] == min(window):
                self.start, self.threshold = latest - self.patience + 1, self.ratio * sum(window) / self.patience
        elif min(self.losses[-self.tolerance :]) > self.threshold:
            self.end = latest - self.tolerance
        return self.end is not None
