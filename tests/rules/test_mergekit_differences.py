"""What mergekit 0.1.5 gives for the methods on differences from a base, frozen: its merge methods called on one float32 tensor, 2026-11-20."""

import pytest
import torch

from loomweight import Weights
from loomweight.edits import DropBothEnds, PerSet, Trim
from loomweight.rules import SCE, Around, ElectSign, Mean, NearSwap, Rule, combine

from .test_mergekit_numbers import BASE, A, B, C, Z

NORMALIZED = ElectSign((1.0, 2.0, -1.0), tie="positive")
ENDS = PerSet((DropBothEnds(0.375, 0.25), DropBothEnds(0.5, 0.125), DropBothEnds(0.375, 0.125)))


def near(factor: float) -> list[torch.Tensor]:
    """The three sets drawn towards the base."""
    start = torch.tensor(Z)
    return [start + factor * (torch.tensor(one) - start) for one in (A, B, C)]


# (rule, sets, mergekit's configuration, mergekit's numbers)
ROWS: list[tuple[Rule, list, str, list]] = [
    (
        Around(BASE, NORMALIZED, (PerSet((Trim(0.625), Trim(0.75), Trim(0.5))),)),
        [A, B, C],
        "ties, weights 1, 2, -1, densities 0.625, 0.75, 0.5",
        [[2.0, 5.0, -2.75, -2.0], [1.5, -2.3333333, -1.0, 3.0]],
    ),
    (
        Around(BASE, ElectSign(normalize=False, tie="positive"), scale=0.5),
        [A, B, C],
        "ties, weight 1, normalize false, lambda 0.5",
        [[1.75, 1.5, 1.25, 0.75], [1.0, -2.5, 0.75, 2.5]],
    ),
    (
        Around(BASE, ElectSign((1.0, 0.5, 1.0), tie="positive"), (ENDS,)),
        [A, B, C],
        "breadcrumbs_ties, weights 1, 0.5, 1, densities 0.375, 0.5, 0.375, gammas 0.25, 0.125, 0.125, normalize true",
        [[2.0, -1.0, 2.0, 1.0], [1.5, -2.0, 1.0, 2.0]],
    ),
    (
        Around(BASE, Mean((1.0, 0.5, -0.25), normalize=False), scale=2.0),
        [A, B, C],
        "task_arithmetic, weights 1, 0.5, -0.25, lambda 2",
        [[2.75, 3.75, -2.875, 0.0], [1.0, -5.25, 0.75, 2.0]],
    ),
    (
        Around(BASE, SCE(0.375, tie="positive", floor=1e-6)),
        near(1.0),
        "sce, select_topk 0.375",
        [[1.0, 1.5408163, 1.4401408, 0.0], [0.5, -1.5, 0.6679105, 1.0]],
    ),
    (
        Around(BASE, SCE(tie="positive", floor=1e-6)),
        near(1.0),
        "sce",
        [[1.7, 1.3948718, 1.5452756, 0.8], [1.5, -2.6051283, 0.7, 2.5999999]],
    ),
    (
        Around(BASE, SCE(tie="positive", floor=1e-6)),
        near(1e-3),
        "sce, small differences",
        [[1.0007, 0.5008949, 0.2512953, 0.0008], [0.501, -1.5011051, 0.0007, 1.0016]],
    ),
    (NearSwap(0.6), [Z, A], "nearswap, t 0.6", [[1.6, 1.0, -0.35, 0.5], [0.25, -2.0999999, 0.6, 1.6]]),
]


@pytest.mark.parametrize(("rule", "sets", "configuration", "expected"), ROWS, ids=[row[2] for row in ROWS])
def test_the_numbers_are_mergekits(rule: Rule, sets: list, configuration: str, expected: list) -> None:
    out = combine([{"w": torch.as_tensor(w)} for w in sets], rule)["w"]
    torch.testing.assert_close(out, torch.tensor(expected), rtol=2e-6, atol=2e-7)


def test_where_mergekits_energies_count_no_more() -> None:
    """Below 1e-6 of mean square in sum, where fine-tunes are, mergekit weighs all sets alike; the paper does so at 0 only."""
    sets = [{"w": torch.full((4,), size)} for size in (1e-4, 3e-4)]
    zero = Weights.of({"w": torch.zeros(4)})
    ours, mergekits = (combine(sets, Around(zero, SCE(floor=floor)))["w"][0].item() for floor in (0.0, 1e-6))
    assert ours == pytest.approx(1e-4 * 0.1 + 3e-4 * 0.9) and mergekits == pytest.approx(2e-4)
