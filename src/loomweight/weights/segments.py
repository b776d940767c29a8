"""The output cut into pieces of work: parts of big tensors, handfuls of small ones.

The cuts depend on the layout alone, never on threads or speed, so that a run can resume another.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .layout import Layout, Shard, Slot
from .spec import BLOCK

#: Entries of a tensor that one task writes at most.
SEGMENT = 16 * BLOCK
_HANDFUL = 4 << 20  # bytes of small tensors that one task writes


@dataclass(frozen=True)
class Piece:
    """The entries [lo, hi) of one tensor; `lo` lies on the grid of blocks."""

    slot: Slot
    lo: int
    hi: int

    @property
    def nbytes(self) -> int:
        """Bytes of these entries."""
        return (self.hi - self.lo) * self.slot.spec.dtype.itemsize

    def blocks(self) -> Iterator[tuple[int, int, int]]:
        """(lo, hi, offset in the file) of every block in it."""
        for lo in range(self.lo, self.hi, BLOCK):
            yield lo, min(lo + BLOCK, self.hi), self.slot.offset + lo * self.slot.spec.dtype.itemsize


@dataclass(frozen=True)
class Segment:
    """One task: pieces that lie one after the other in one file."""

    number: int
    file: str
    pieces: tuple[Piece, ...]

    @property
    def nbytes(self) -> int:
        """Bytes that this task writes."""
        return sum(piece.nbytes for piece in self.pieces)


def cut(layout: Layout) -> list[Segment]:
    """All segments, in the order in which they lie in the files."""
    parts = [(shard.file, pieces) for shard in layout.shards for pieces in _handfuls(shard)]
    return [Segment(number, file, tuple(pieces)) for number, (file, pieces) in enumerate(parts)]


def ordered(segments: Iterable[Segment], ahead: int) -> list[Segment]:
    """The order of work: big tensors first, and the first segment of the next `ahead` tensors before the rest of this one.

    What a tensor needs as a whole (a threshold, a decomposition) is done once, with its first segment. Started ahead, it
    runs on one thread while the others write the tensor before.
    """
    runs: defaultdict[tuple[str, str], list[Segment]] = defaultdict(list)
    for segment in segments:
        runs[segment.file, segment.pieces[0].slot.name].append(segment)
    biggest = sorted(runs.values(), key=lambda run: (-sum(segment.nbytes for segment in run), run[0].number))
    out: list[Segment] = []
    started = 0
    for i, run in enumerate(biggest):
        out += [other[0] for other in biggest[started : i + ahead + 1]]
        started = max(started, min(i + ahead + 1, len(biggest)))
        out += run[1:]
    return out


def _handfuls(shard: Shard) -> Iterator[list[Piece]]:
    handful: list[Piece] = []
    room = _HANDFUL
    for slot in shard.slots:
        for lo in range(0, slot.spec.numel, SEGMENT):
            piece = Piece(slot, lo, min(lo + SEGMENT, slot.spec.numel))
            if handful and (lo or piece.nbytes > room):
                yield handful
                handful, room = [], _HANDFUL
            handful.append(piece)
            room -= piece.nbytes
    if handful:
        yield handful
