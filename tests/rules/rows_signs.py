"""Medians, sign elections, and what else decides entry by entry."""

import torch

from loomweight.rules import (
    PCB,
    SCE,
    ArceeFusion,
    Consensus,
    ElectSign,
    MagMax,
    MajoritySign,
    Median,
    NearSwap,
    Rule,
    TrimmedMean,
    breadcrumbs,
    magmax,
    ties,
)
from loomweight.weights import Weights

from .laws import ALL, Law, flips_with_the_sets, ignores_order, keeps_agreement, moves_with_the_sets, scales_with_the_sets, stays_in_range

ZERO = Weights.of({"w": torch.zeros(3, dtype=torch.float64)})
ONE = Weights.of({"w": torch.ones(3, dtype=torch.float64)})

LAWS: dict[Rule, frozenset[Law]] = {
    Median(): ALL,
    Median(weights=(1, 2, 3)): ALL - {ignores_order},
    TrimmedMean(f=1): ALL,
    TrimmedMean(f=2): ALL,
    TrimmedMean(f=1, weights=(2, 2, 3, 2)): ALL - {ignores_order},
    ElectSign(): ALL - {moves_with_the_sets},
    ElectSign(weights=(2, 1, 1)): ALL - {moves_with_the_sets, ignores_order},
    ElectSign(normalize=False): ALL - {moves_with_the_sets, keeps_agreement, stays_in_range},
    MajoritySign(): ALL - {moves_with_the_sets},
    MajoritySign(weights=(2, 1, 1)): ALL - {moves_with_the_sets, ignores_order},
    MagMax(): ALL - {moves_with_the_sets},
    SCE(): ALL - {moves_with_the_sets},
    SCE(select=0.5): frozenset({ignores_order, scales_with_the_sets, flips_with_the_sets}),
    PCB(keep=1.0): ALL - {moves_with_the_sets},
    PCB(keep=0.3): frozenset({ignores_order, scales_with_the_sets, flips_with_the_sets}),
    Consensus(): frozenset({ignores_order, scales_with_the_sets, flips_with_the_sets}),
    NearSwap(t=0.1): frozenset({keeps_agreement, moves_with_the_sets, flips_with_the_sets, stays_in_range}),
    ArceeFusion(): frozenset({keeps_agreement, stays_in_range}),
}

VALUES = [
    (Median(), [[1, 5], [2, 1], [9, 3]], [2, 3], "by hand"),
    (Median(), [[1], [2], [6], [1000]], [4], "by hand: (2 + 6) / 2"),
    (Median(weights=(1, 1, 3)), [[1], [2], [6]], [6], "by hand: 1 2 6 6 6"),
    (TrimmedMean(f=1), [[1], [2], [6], [1000]], [4], "by hand: (2 + 6) / 2"),
    (ElectSign(), [[4, 1, 0], [2, -3, 0], [-1, 0, 5]], [3, -3, 5], "by hand"),
    (ElectSign(weights=(1, 3)), [[4, 1], [-2, 1]], [-2, 1], "by hand: masses 4 and -6; all agree"),
    (ElectSign(normalize=False), [[4, 1], [2, -1]], [6, 0], "by hand: masses cancel in the second, nobody elected"),
    (ElectSign(normalize=False, tie="positive"), [[4, 1], [2, -1]], [6, 1], "by hand: masses cancel in the second, + elected"),
    (MajoritySign(), [[9, 1], [-1, 2], [-3, 3]], [-2, 2], "by hand"),
    (MagMax(), [[1, -5, 2], [-3, 4, -2]], [-3, -5, 2], "by hand, the first of equals"),
    (SCE(), [[3, 1], [1, -3]], [2, -3], "by hand: energies 10 and 10, so the means of those that agree"),
    (SCE(), [[2, 2], [1, -1]], [1.8, 2], "by hand: energies 8 and 2; (0.8 * 2 + 0.2 * 1) / 1"),
    (Consensus(tall=0.4, agree=2), [[1, 1, 1], [1, 0, -0.9]], [2, 0, 0.1], "by hand"),
    (Consensus(tall=0.4, agree=1), [[1, 0], [1, 0]], [2, 0], "by hand"),
    (PCB(keep=0.34), [[1, 0, 0], [0, -2, 0]], [1, -2, 0], "by hand: each keeps the entry whose own score is largest"),
    (NearSwap(t=1), [[0, 0], [0.5, 4]], [0.5, 1], "by hand"),
    (ArceeFusion(), [[[0, 0]] * 8, [[0, 0]] * 7 + [[2, 0]]], [[0, 0]] * 7 + [[2, 0]], "by hand: quartiles are 0, so what changed is taken"),
    (ties(ZERO, keep=2 / 3), [[1, -2, 0.1], [3, 1, 0.2]], [2, -2, 0], "by hand: trim the third, elect +, -"),
    (ties(ONE, keep=2 / 3, scale=0.5), [[2, -1, 1.1], [4, 2, 1.2]], [2, 0, 1], "by hand: the row before, from 1, halved"),
    (magmax(ONE), [[2, 1, 1], [-1, 1, 1]], [-1, 1, 1], "by hand: differences 1 and -2"),
    (breadcrumbs(ZERO, density=0.34, gamma=0.34), [[3, 2, 1], [1, 3, 2]], [0, 2, 2], "by hand: each keeps its middle entry"),
]
