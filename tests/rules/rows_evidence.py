"""Rules that use evidence or decompositions."""

import torch

from loomweight.rules import Fisher, GradientMatching, IsoC, RegMean, Rule, TaskSingularVectors
from loomweight.weights import Weights

from .laws import Law, flips_with_the_sets, ignores_order, scales_with_the_sets


def named(*rows: list) -> tuple[Weights, ...]:
    return tuple(Weights.of({"w": torch.tensor(row, dtype=torch.float64)}) for row in rows)


LAWS: dict[Rule, frozenset[Law]] = {
    TaskSingularVectors(): frozenset({ignores_order, scales_with_the_sets, flips_with_the_sets}),
    IsoC(): frozenset({ignores_order, scales_with_the_sets, flips_with_the_sets}),
}
ELSEWHERE: dict[type[Rule], str] = {Fisher: "test_evidence_rules.py", GradientMatching: "test_evidence_rules.py", RegMean: "test_evidence_rules.py"}

ZERO = named([0, 0])[0]
VALUES = [
    (Fisher(named([1, 0], [1, 5]), floor=0), [[1, 1], [3, 3]], [2, 3], "by hand"),
    (Fisher(named([1, 2], [3, 2]), weights=(1, 2), floor=0), [[1, 1], [8, 4]], [7, 3], "by hand: (1 + 48) / 7, (2 + 16) / 6"),
    (GradientMatching(ZERO, named([1, 3], [1, 1]), named([1, 1])[0], delta=0), [[3, 2], [6, 4]], [6, 3.2], "by hand: 2 * (3 + 6) / 3, (4 * 2 + 2 * 4) / 5"),
    (RegMean(named([[1, 0], [0, 1]], [[3, 0], [0, 0]]), keep=1), [[[1, 2]], [[5, 6]]], [[4, 2]], "by hand: per input (1 + 15) / 4, 2 / 1"),
    (IsoC(), [[[3, 0], [0, 0]], [[0, 0], [0, 1]]], [[2, 0], [0, 2]], "by hand: singular values 3 and 1"),
    (TaskSingularVectors(), [[[4, 0], [0, 0]], [[0, 0], [0, 2]]], [[4, 0], [0, 2]], "by hand: directions that do not meet"),
]
