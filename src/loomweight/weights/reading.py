"""Tensors opened once each, whatever the number of segments and threads, and let go after their last segment."""

import threading
from collections import Counter
from collections.abc import Iterable

from .segments import Segment
from .spec import Block
from .weights import Weights


class Reading:
    """Hands out blocks of one set; a tensor is opened by the first who asks, while others who ask for it wait."""

    def __init__(self, weights: Weights, segments: Iterable[Segment]) -> None:
        self._weights = weights
        self._left = Counter(name for segment in segments for name in _names(segment))
        self._locks = {name: threading.Lock() for name in self._left}
        self._blocks: dict[str, Block] = {}
        self._counting = threading.Lock()

    def block(self, name: str) -> Block:
        """The opened tensor."""
        with self._locks[name]:
            if name not in self._blocks:
                self._blocks[name] = self._weights.open(name)
            return self._blocks[name]

    def release(self, segment: Segment) -> None:
        """Say that a segment is done; tensors that no segment needs any more are forgotten."""
        with self._counting:
            for name in _names(segment):
                self._left[name] -= 1
                if not self._left[name]:
                    self._blocks.pop(name, None)


def _names(segment: Segment) -> set[str]:
    return {piece.slot.name for piece in segment.pieces}
