"""The singular-vector diagnostic."""

from itertools import product

import pytest
import torch

from loomweight.align import singular_alignment, weight_matching
from loomweight.edits import Permute
from loomweight.errors import BadParameter, NonFinite, ShapesDiffer
from loomweight.weights import Weights
from loomweight.weights.axes import axes, random_orders, table_for

from .digits import Mlp, digits, seeded, trained
from .networks import table, weights

FIXED = Permute.by(table_for("w : 3 4", Weights.of({"w": torch.zeros(3, 4)})), {})


def matrix(values: list[float], seed: int) -> torch.Tensor:
    """3 x 4 with these singular values."""
    generator = torch.Generator().manual_seed(seed)
    left, right = (torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64)).Q for size in (3, 4))
    return left @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ right[:3]


def test_by_hand_over_pairs_of_vectors() -> None:
    a, b = matrix([4.0, 2.0, 1.0], 1), matrix([5.0, 4.0, 0.1], 2)
    (u, _, v), (x, _, y) = (torch.linalg.svd(each, full_matrices=False) for each in (a, b))
    by_hand = sum(float((u[:, i] @ x[:, j]) * (v[i] @ y[j])) for i, j in product(range(2), range(2))) / 2
    found = singular_alignment(FIXED.axes, Weights.of({"w": b}), Weights.of({"w": a}), FIXED, gamma=0.5)
    assert found.before["w"] == pytest.approx(by_hand, rel=1e-9)
    assert found.counts["w"] == (2, 2)
    assert found.before == found.after


def test_the_vectors_decide_and_not_the_values() -> None:
    a, b = matrix([4.0, 2.0, 1.0], 1), matrix([1.0, 0.9, 0.8], 1)
    assert singular_alignment(FIXED.axes, Weights.of({"w": b}), Weights.of({"w": a}), FIXED, gamma=0).total[0] == pytest.approx(1)
    assert singular_alignment(FIXED.axes, Weights.of({"w": -b}), Weights.of({"w": a}), FIXED, gamma=0).total[0] == pytest.approx(-1)


@pytest.mark.parametrize("name", ["mlp", "residual", "encoder"])
def test_a_permutation_leaves_singular_values_and_turns_vectors(name: str) -> None:
    base = weights(name)
    shuffled = Permute.by(table(name), random_orders(table(name), 1))(base)
    for key in (key for key in base if base.spec[key].averages and len(base.spec[key].shape) == 2):
        values = [torch.linalg.svdvals(each[key].double()) for each in (base, shuffled)]
        assert torch.allclose(*values, rtol=1e-6)
    found = singular_alignment(table(name), shuffled, base, weight_matching(table(name), shuffled, base))
    assert found.total[0] < 0.9
    assert found.total[1] == pytest.approx(1)


def test_matching_turns_dominant_vectors_of_trained_networks_towards_one_another() -> None:
    """The paper's finding: R rises, and more so where only large singular values count."""
    images, labels, *_ = digits()
    models = [trained(seeded(seed, Mlp, 64), images, labels, epochs=15, seed=seed) for seed in (1, 2)]
    found = axes(models[0], images[:1])
    moving, reference = (Weights.of(model.state_dict()) for model in models)
    edit = weight_matching(found, moving, reference)
    every, large = (singular_alignment(found, moving, reference, edit, gamma=gamma) for gamma in (0.0, 0.3))
    assert large.total[1] > large.total[0] + 0.05
    assert large.total[1] - large.total[0] > every.total[1] - every.total[0]
    assert "together" in str(large)


def test_bad_input() -> None:
    one = Weights.of({"w": torch.ones(3, 4)})
    with pytest.raises(BadParameter, match="gamma"):
        singular_alignment(FIXED.axes, one, one, FIXED, gamma=2.0)
    with pytest.raises(NonFinite, match="'w'"):
        singular_alignment(FIXED.axes, one, Weights.of({"w": torch.full((3, 4), torch.nan)}), FIXED)
    with pytest.raises(ShapesDiffer):
        singular_alignment(FIXED.axes, one, Weights.of({"w": torch.ones(4, 4)}), FIXED)
    flat = Weights.of({"w": torch.ones(3)})
    with pytest.raises(BadParameter, match="no tensor"):
        singular_alignment(table_for("w : 3", flat), flat, flat, Permute.by(table_for("w : 3", flat), {}))
