"""A model's weights over another vocabulary: rows moved and filled, block by block, when they are read."""

import hashlib
from bisect import bisect_right
from collections.abc import Mapping

import torch
from torch import Tensor

from ..weights import BLOCK, Block, Spec, Weights
from ..weights.algebra import working
from .vocabulary_rows import CENTRE, MEAN, ZERO, Rows
from .vocabulary_tensors import resized


def over(weights: Weights, tables: Mapping[str, Rows], givers: Mapping[str, Weights]) -> Weights:
    """The model with its vocabulary tensors as the tables say.

    Args:
        tables: physical tensor -> where its rows come from.
        givers: the models that the tables name, as they are.
    """
    spec = dict(weights.spec)
    for name in weights.names:
        if table := tables.get(weights.ties.get(name, name)):
            spec[name] = Spec(resized(spec[name].shape, name, len(table.source)), spec[name].dtype)

    def open_(name: str) -> Block:
        return opened(name, spec[name], tables[name], givers) if name in tables else weights.open(name)

    used = {name: giver for table in tables.values() for name in table.givers if (giver := givers[name]) is not weights}
    origin = ("vocabulary", weights, *used.values(), *(f"{name} {_digest(table)}" for name, table in tables.items()))
    sources = tuple(dict.fromkeys([*weights.sources, *(source for giver in used.values() for source in giver.sources)]))
    return Weights(spec, open_, ties=weights.ties, origin=origin, label=weights.label, sources=sources)


def opened(name: str, spec: Spec, table: Rows, givers: Mapping[str, Weights]) -> Block:
    """One tensor, rows as its table says, means unrounded."""
    width = spec.numel // max(len(table.source), 1)
    reader = _Reader(name, spec, table, givers, width)
    return reader.read


class _Reader:
    """Reads the flat entries [lo, hi) of a tensor whose rows are gathered from several."""

    def __init__(self, name: str, spec: Spec, table: Rows, givers: Mapping[str, Weights], width: int) -> None:
        self.table, self.width, self.work = table, width, spec.work
        self.starts = [run[0] for run in table.runs]
        averaged = bool((table.source == MEAN).any())
        wanted = set(table.own) if averaged else set()
        wanted |= {number for number in table.source.unique().tolist() if number >= 0}
        self.blocks = {number: working(givers[table.givers[number]], name) for number in sorted(wanted)}
        self.centre: Tensor | None = None
        if bool((table.source == CENTRE).any()):
            self.centre = self._centre()

    def read(self, lo: int, hi: int) -> Tensor:
        """The entries, a view of one giver's where they lie there side by side."""
        width, first = self.width, lo // max(self.width, 1)
        end = -(-hi // max(width, 1))
        at = bisect_right(self.starts, first) - 1
        if lo >= hi:
            return torch.empty(0, dtype=self.work)
        _, stop, source, row = self.table.runs[at]
        if source >= 0 and stop >= end:
            shift = (row - self.starts[at]) * width
            return self.blocks[source](lo + shift, hi + shift).to(self.work)
        rows = torch.empty(end - first, width, dtype=self.work)
        while at < len(self.starts) and self.starts[at] < end:
            start, stop, source, row = self.table.runs[at]
            a, b = max(start, first), min(stop, end)
            self._fill(rows[a - first : b - first], a, source, row + a - start)
            at += 1
        return rows.reshape(-1)[lo - first * width : hi - first * width]

    def _fill(self, out: Tensor, number: int, source: int, row: int) -> None:
        """Rows `number` and on of the result into `out`."""
        if source >= 0:
            out.copy_(self.blocks[source](row * self.width, (row + len(out)) * self.width).reshape(out.shape))
        elif source == ZERO:
            out.zero_()
        elif source == CENTRE:  # while the mean itself is made, these rows are read and left out
            out.copy_(self.centre.expand_as(out)) if self.centre is not None else out.zero_()
        else:
            for i in range(len(out)):
                out[i] = self._mean(number + i)

    def _mean(self, number: int) -> Tensor:
        rows = [(giver, int(own[number])) for giver, own in self.table.own.items() if own[number] >= 0]
        total = torch.zeros(self.width, dtype=torch.float64)
        for giver, row in rows:
            total += self.blocks[giver](row * self.width, (row + 1) * self.width)
        return (total / len(rows)).to(self.work)

    def _centre(self) -> Tensor:
        """The mean of the rows of all tokens."""
        total = torch.zeros(self.width, dtype=torch.float64)
        numbers = self.table.tokens.nonzero().flatten()
        for part in numbers.split(max(1, BLOCK // max(self.width, 1))):
            first, end = int(part[0]), int(part[-1]) + 1
            rows = self.read(first * self.width, end * self.width).reshape(-1, self.width)
            total += rows[part - first].sum(0, dtype=torch.float64)
        return (total / max(len(numbers), 1)).to(self.work)


def _digest(table: Rows) -> str:
    every = [table.source, table.row, *table.own.values()]
    return hashlib.sha256(b"".join(part.numpy().tobytes() for part in every)).hexdigest()
