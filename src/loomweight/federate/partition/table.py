"""Who has what, as a table for the terminal."""

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from .counts import Counts, counts
from .partition import Parts

if TYPE_CHECKING:
    from rich.table import Table

_HEIGHTS = " ▁▂▃▄▅▆▇█"


def table(parts: Parts, labels: Tensor, most: int = 20) -> "Table":
    """A row for each client: samples, classes, the class that it has most of, and its mixture as a small chart.

    Where there are more than `most` clients, the rows are those of the largest and the smallest half of that, and one says how many are left out.

    Args:
        parts: what a partition gives.
        labels: of the data that was divided.
        most: rows at most.

    Raises:
        BadParameter: the labels are not one whole number for each sample, or of other data.

    >>> from rich.console import Console
    >>> from loomweight.federate.partition import Shards
    >>> labels = torch.arange(4).repeat(6)
    >>> Console(width=60).print(table(Shards(1)(labels, clients=4, seed=0), labels))
      client     samples   classes   most of     0 to 3
     ───────────────────────────────────────────────────
      client 0         6         1   3 (100 %)      █
      client 1         6         1   1 (100 %)    █
      client 2         6         1   0 (100 %)   █
      client 3         6         1   2 (100 %)     █
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    found = counts(parts, labels)
    right = [Column(name, justify="right") for name in ("samples", "classes")]
    mixture = f"{found.classes[0]} to {found.classes[-1]}" if found.classes else ""
    made = Table("client", *right, "most of", mixture, box=SIMPLE_HEAD)
    order = np.argsort(-found.sizes, kind="stable").tolist()
    if len(order) <= most:
        for client in range(len(order)):
            made.add_row(*_row(found, client))
        return made
    for client in order[: most - most // 2]:
        made.add_row(*_row(found, client))
    made.add_row(f"... {len(order) - most:,} more", "", "", "", "", style="dim")
    for client in order[len(order) - most // 2 :]:
        made.add_row(*_row(found, client))
    return made


def _row(found: Counts, client: int) -> tuple[str, ...]:
    own, shares = found.table[client], found.shares[client]
    top = int(own.argmax())
    mostly = f"{found.classes[top]} ({shares[top]:.0%})".replace("%", " %") if own.any() else "-"
    return found.clients[client], f"{own.sum():,}", str((own > 0).sum()), mostly, _chart(shares)


def _chart(shares: np.ndarray) -> str:
    """A column for each class, or for each group of neighbours where there are more than 40; the highest is full."""
    groups = np.array([group.sum() for group in np.array_split(shares, min(40, len(shares)))])
    return "".join(_HEIGHTS[int(np.ceil(8 * part / (groups.max() or 1.0)))] for part in groups)
