"""Who works when: the spans of a world in which all clients are asked at once, and their picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...errors import BadParameter
from ..world import Pace
from .drawing import BLUE, GREY, ORANGE, sheet, written

Fate = Literal["answers", "late", "died", "away"]
FATES: tuple[tuple[Fate, str], ...] = (("answers", BLUE), ("late", GREY), ("died", ORANGE))


@dataclass(frozen=True)
class Span:
    """One client in one round.

    Args:
        client: who.
        number: of the round.
        start, end: in simulated seconds; the end is that of the work, or of the round where that comes first or the client is away.
        fate: it answers, is late, died, or was away all the round.
    """

    client: str
    number: int
    start: float
    end: float
    fate: Fate


def spans(speeds: Pace, steps: Mapping[str, int], rounds: int, deadline: float | None = None) -> list[Span]:
    """What each client does in each round, where everybody is asked and a round ends when all that will answer have, or at the deadline.

    Args:
        speeds: of the world.
        steps: local steps of each client in a round; the clients in the order of the federation.
        rounds: how many.
        deadline: of a round, as in `Guard`.

    >>> from loomweight.federate import Speeds
    >>> world = Speeds(step={"a": 1.0, "b": 4.0})
    >>> [(span.client, span.start, span.end, span.fate) for span in spans(world, {"a": 2, "b": 2}, rounds=1, deadline=5.0)]
    [('a', 0.0, 2.0, 'answers'), ('b', 0.0, 5.0, 'late')]
    """
    if not steps or rounds < 1:
        raise BadParameter(f"a time line needs a client and a round, found {len(steps)} and {rounds}.")
    found, now = [], 0.0
    for number in range(rounds):
        tasks = [(client, number * len(steps) + place, count) for place, (client, count) in enumerate(steps.items())]
        takes = {client: speeds.duration(client, task, count) for client, task, count in tasks}
        fates: dict[str, Fate] = {client: _fate(speeds, client, task, number, takes[client], deadline) for client, task, _ in tasks}
        ended = [takes[client] for client, fate in fates.items() if fate in ("answers", "died")]
        lasts = deadline if deadline is not None and len(ended) < len(fates) else max(ended, default=0.0)
        found += [Span(client, number, now, now + (takes[client] if fate in ("answers", "died") else lasts), fate) for client, fate in fates.items()]
        now += lasts
    return found


def _fate(speeds: Pace, client: str, task: int, number: int, takes: float, deadline: float | None) -> Fate:
    if not speeds.present(client, number):
        return "away"
    if deadline is not None and takes > deadline:
        return "late"
    return "died" if speeds.fails(client, task) else "answers"


def timeline(speeds: Pace, steps: Mapping[str, int], rounds: int, path: str | Path, deadline: float | None = None) -> Path:
    """A row for each client, with a bar for each task: answered, late or lost; a line where each round ends. A `.png`, `.svg` or `.pdf`.

    Args:
        speeds: of the world.
        steps: local steps of each client in a round; the clients in the order of the federation.
        rounds: how many.
        path: where the picture goes.
        deadline: of a round, as in `Guard`.

    Raises:
        OutputError, MissingExtra: it cannot be written, or matplotlib is not installed.
        BadParameter: there is no client or no round.

    >>> import pathlib, tempfile
    >>> from loomweight.federate import Speeds
    >>> steps = dict.fromkeys("abcdef", 10)
    >>> timeline(Speeds(1, spread=0.5, absent=0.2), steps, 5, pathlib.Path(tempfile.mkdtemp()) / "when.png", deadline=20.0).name
    'when.png'
    """
    place, found = Path(path), spans(speeds, steps, rounds, deadline)
    figure = sheet(place, 10.0, min(0.24 * len(steps) + 1.6, 12.0))
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    rows = {client: row for row, client in enumerate(steps)}
    for fate, color in FATES:
        own = [span for span in found if span.fate == fate]
        lengths = [span.end - span.start for span in own]
        axes.barh([rows[span.client] for span in own], lengths, left=[span.start for span in own], height=0.7, color=color, label=f"{fate} ({len(own)})")
    for end in [max(span.end for span in found if span.number == number) for number in range(rounds)]:
        axes.axvline(end, color="black", lw=0.6)
    if len(rows) <= 40:
        axes.set_yticks(range(len(rows)), list(rows), fontsize=8)
    else:
        axes.set_ylabel("clients")
    axes.set_ylim(len(rows) - 0.4, -0.6)
    away = sum(span.fate == "away" for span in found)
    axes.set(xlabel="simulated seconds; a line ends a round", title=f"Who works when; {away} times a client was away")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize="small")
    return written(figure, place)
