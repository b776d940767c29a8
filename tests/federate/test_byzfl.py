"""Parity with ByzFL, where it is installed; its numbers are frozen in tests/rules/rows_robust.py, test_attacks.py and bench/tables too."""

from typing import Any

import numpy as np
import pytest
import torch

from loomweight.federate import Alie, Attack, InnerProduct, Mimic, OptimalAlie, OptimalInnerProduct, Reply, SignFlip
from loomweight.federate.attacks.strongest import Search
from loomweight.rules import (
    CenteredClip,
    Krum,
    Mean,
    MeanAroundMedian,
    Median,
    MinimumDiameter,
    MultiKrum,
    NearestNeighbourMean,
    NearestNeighbourMixing,
    Rule,
    TrimmedMean,
    combine,
)

byzfl: Any = pytest.importorskip(
    "byzfl", reason="byzfl is not installed; its numbers are frozen in rows_robust.py and test_attacks.py"
)  # a peer, never a dependency

N, F = 11, 2
RULES = [
    (Mean(), lambda: [byzfl.Average()]),
    (Median(), lambda: [byzfl.Median()]),
    (TrimmedMean(F), lambda: [byzfl.TrMean(F)]),
    (Krum(F, neighbours=N - F - 1), lambda: [byzfl.Krum(F)]),
    (MultiKrum(F, neighbours=N - F - 1), lambda: [byzfl.MultiKrum(F)]),
    (MeanAroundMedian(F), lambda: [byzfl.Meamed(F)]),
    (CenteredClip(tau=2.0, iterations=3), lambda: [byzfl.CenteredClipping(L=3, tau=2.0)]),
    (NearestNeighbourMean(F, trusted=3), lambda: [byzfl.MoNNA(F, 3)]),
    (NearestNeighbourMixing(TrimmedMean(F), F), lambda: [byzfl.NNM(F), byzfl.TrMean(F)]),
    (NearestNeighbourMixing(Median(), F), lambda: [byzfl.NNM(F), byzfl.Median()]),
]
ATTACKS = [
    (SignFlip(), byzfl.SignFlipping),
    (InnerProduct(1.3), lambda: byzfl.InnerProductManipulation(1.3)),
    (Alie(1.2), lambda: byzfl.ALittleIsEnough(1.2)),
    (Mimic(4), lambda: byzfl.Mimic(4)),
    (OptimalInnerProduct(TrimmedMean(F), F), lambda: byzfl.Optimal_InnerProductManipulation(byzfl.TrMean(F), [], F)),
    (OptimalAlie(Median(), F, Search(tries=9, step=3.0)), lambda: byzfl.Optimal_ALittleIsEnough(byzfl.Median(), [], F, evals=9, delta=3.0)),
]


@pytest.mark.parametrize(("rule", "theirs"), RULES, ids=lambda value: repr(value)[:50])
@pytest.mark.parametrize("seed", range(8))
def test_rules(rule: Rule, theirs: Any, seed: int) -> None:
    rows = np.random.default_rng(seed).standard_normal((N, 40))
    rows[:F] += seed
    expected = rows.copy()
    for step in theirs():
        expected = step(expected)
    found = combine([{"w": row} for row in torch.from_numpy(rows)], rule)["w"]
    # float64, sums in another order
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_minimum_diameter_finds_as_small_a_diameter(seed: int) -> None:
    """Of subsets with the same diameter byzfl takes the first, we the tightest: so the result is compared where one subset has it."""
    rows = np.random.default_rng(seed).standard_normal((N, 6))
    rows[:F] += 4
    found = combine([{"w": row} for row in torch.from_numpy(rows)], MinimumDiameter(F))["w"]
    np.testing.assert_allclose(found.numpy(), byzfl.MDA(F)(rows), rtol=1e-9, atol=1e-9)  # float64, sums in another order


@pytest.mark.parametrize(("attack", "theirs"), ATTACKS, ids=lambda value: repr(value)[:50])
@pytest.mark.parametrize("seed", range(4))
def test_attacks(attack: Attack, theirs: Any, seed: int) -> None:
    rows = np.random.default_rng(seed).standard_normal((N - F, 40)) + 0.3
    honest = [{"w": row} for row in torch.from_numpy(rows)]
    found = attack.forge(Reply("eve", 0, honest[0]), honest, np.random.default_rng(0)).update["w"]
    # float64; a factor found by a search is the same number, or another one altogether
    np.testing.assert_allclose(found.numpy(), theirs()(rows.copy()), rtol=1e-9, atol=1e-9)
