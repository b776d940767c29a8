"""Draws that have to give everybody enough: tried a fixed number of times, and then an error says what was reached."""

from collections.abc import Callable, Sequence

from ...errors import BadParameter
from .partition import Indices, Partition

TRIES = 100


def large_enough(partition: Partition, smallest: int, draw: Callable[[], Sequence[Indices]], remedy: str) -> Sequence[Indices]:
    """The first draw in which every client has `smallest` samples or more.

    Raises:
        BadParameter: none of `TRIES` draws was so; the message gives the best of them.
    """
    best = -1
    for _ in range(TRIES):
        parts = draw()
        least = min(map(len, parts))
        if least >= smallest:
            return parts
        best = max(best, least)
    wanted = f"each of {len(parts)} clients {smallest} of {sum(map(len, parts))} samples"
    raise BadParameter(f"{partition}: none of {TRIES} draws gave {wanted}; the best left its smallest client {best}. {remedy}")
