"""A model's weights over another vocabulary: rows moved and filled, block by block, when they are read."""

import hashlib
from bisect import bisect_right
from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor

from ..weights import BLOCK, Block, Spec, Weights
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
        self.blocks = {number: givers[table.givers[number]].open(name) for number in sorted(wanted)}
        self.stored = {number: _stored(block, givers[table.givers[number]].spec[name].numel, width) for number, block in self.blocks.items()}
        self.centre: Tensor | None = None
        if bool((table.source == CENTRE).any()):
            self.centre = self._centre()

    def read(self, lo: int, hi: int) -> Tensor:
        """The entries, a view of one giver's where they lie there side by side."""
        if lo >= hi:
            return torch.empty(0, dtype=self.work)
        first, end = lo // self.width, -(-hi // self.width)
        start, stop, source, row = self.table.runs[bisect_right(self.starts, first) - 1]
        if source >= 0 and stop >= end:
            shift = (row - start) * self.width
            return self.blocks[source](lo + shift, hi + shift).to(self.work)
        sources, out = self.table.source[first:end], torch.empty(end - first, self.width, dtype=self.work)
        for source in sources.unique().tolist():
            places = (sources == source).nonzero().flatten()
            out[places] = self._rows(source, places + first)
        return out.reshape(-1)[lo - first * self.width : hi - first * self.width]

    def _rows(self, source: int, numbers: Tensor) -> Tensor:
        """These rows of the result, all from one source."""
        if source >= 0:
            return self._taken(source, self.table.row[numbers])
        if source == MEAN:
            return self._mean(numbers)
        zeros = torch.zeros(len(numbers), self.width, dtype=self.work)
        # while the mean of all tokens is made, rows that will be it are read too, and left out
        return zeros if source == ZERO or self.centre is None else zeros + self.centre

    def _taken(self, giver: int, rows: Tensor) -> Tensor:
        """These rows of one giver: at once where it is stored, else stretch by stretch."""
        if (stored := self.stored[giver]) is not None:
            return stored[rows].to(self.work)
        breaks = [0, *((rows[1:] != rows[:-1] + 1).nonzero().flatten() + 1).tolist(), len(rows)]
        spans = [(int(rows[start]), end - start) for start, end in pairwise(breaks) if end > start]
        parts = [self.blocks[giver](row * self.width, (row + count) * self.width).to(self.work) for row, count in spans]
        return torch.cat(parts).reshape(-1, self.width)

    def _mean(self, numbers: Tensor) -> Tensor:
        total = torch.zeros(len(numbers), self.width, dtype=torch.float64)
        count = torch.zeros(len(numbers), 1, dtype=torch.float64)
        for giver, own in self.table.own.items():
            places = (own[numbers] >= 0).nonzero().flatten()
            if len(places):
                total[places] += self._taken(giver, own[numbers][places])
                count[places] += 1
        return (total / count).to(self.work)

    def _centre(self) -> Tensor:
        """The mean of the rows of all tokens."""
        total = torch.zeros(self.width, dtype=torch.float64)
        numbers = self.table.tokens.nonzero().flatten()
        for part in numbers.split(max(1, BLOCK // max(self.width, 1))):
            first, end = int(part[0]), int(part[-1]) + 1
            rows = self.read(first * self.width, end * self.width).reshape(-1, self.width)
            total += rows[part - first].sum(0, dtype=torch.float64)
        return (total / max(len(numbers), 1)).to(self.work)


def _stored(block: Block, numel: int, width: int) -> Tensor | None:
    """The whole tensor as rows, where a block is a view of it and costs nothing; None where blocks are computed."""
    if numel < 2:
        return None
    ends = block(0, 1), block(numel - 1, numel)
    storage = ends[0].untyped_storage()
    apart = ends[1].storage_offset() - ends[0].storage_offset()
    same = storage.data_ptr() == ends[1].untyped_storage().data_ptr() and apart == numel - 1
    return block(0, numel).reshape(-1, width) if same else None


def _digest(table: Rows) -> str:
    every = [table.source, table.row, *table.own.values()]
    return hashlib.sha256(b"".join(part.numpy().tobytes() for part in every)).hexdigest()
