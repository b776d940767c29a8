"""Weight sets made of plain vectors, and what tests of rules ask about them."""

from collections import Counter

import torch
from torch import Tensor

from loomweight import Weights
from loomweight.rules import Rule, combine
from loomweight.weights import Block


def states(rows: Tensor, first: int = 3) -> list[dict[str, Tensor]]:
    """Every row as a state dict of two tensors."""
    return [{"a.weight": row[:first].clone(), "b.weight": row[first:].clone()} for row in rows]


def joined(weights: Weights) -> Tensor:
    return torch.cat([weights[name].flatten() for name in weights])


def combined(rows: Tensor, rule: Rule) -> Tensor:
    """The rule's result as one row."""
    return joined(combine(states(rows), rule))


def near(seed: int, n: int, d: int, relative: float) -> Tensor:
    """n rows that differ from one another by a relative size."""
    generator = torch.Generator().manual_seed(seed)
    return 0.05 * (torch.randn(d, generator=generator) + relative * torch.randn(n, d, generator=generator))


def counted(weights: Weights) -> tuple[Weights, Counter[str]]:
    """The same set, and how many entries of each tensor were read."""
    reads: Counter[str] = Counter()

    def open_(name: str) -> Block:
        read = weights.open(name)

        def block(lo: int, hi: int) -> Tensor:
            reads[name] += hi - lo
            return read(lo, hi)

        return block

    return Weights(weights.spec, open_, ties=weights.ties), reads


def times_read(sets: list[dict[str, Tensor]], rule: Rule) -> list[float]:
    """How often each set is read when the rule's result is."""
    watched = [counted(Weights.of(s)) for s in sets]
    joined(combine([w for w, _ in watched], rule))
    return [sum(reads.values()) / sum(t.numel() for t in s.values()) for (_, reads), s in zip(watched, sets, strict=True)]
