"""Diversity and the decomposition of the error, against second formulas."""

from math import inf, isnan

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from loomweight.errors import BadParameter, TooFewSets
from loomweight.evaluate import Cost, cost, decompose, diversity, locality, ratio_error
from loomweight.weights import Weights

classes = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=20)


def runs(seed: int, shape: tuple[int, ...] = (6, 4, 5, 3)) -> Tensor:
    """Predictions whose members share a part: covariance and variance both matter."""
    generator = torch.Generator().manual_seed(seed)
    shared = torch.randn(shape[0], 1, *shape[2:], generator=generator)
    return torch.randn(shape, generator=generator) + 0.7 * shared


@given(classes)
def test_the_ratio_is_counted(rows: list[tuple[int, int, int]]) -> None:
    first, second, labels = (torch.tensor(column) for column in zip(*rows, strict=True))
    one = sum((a != y) != (b != y) for a, b, y in rows)
    both = sum(a != y and b != y for a, b, y in rows)
    expected = one / both if both else (inf if one else 0.0)
    assert ratio_error(first, second, labels) == expected == ratio_error(second, first, labels)


def test_a_model_and_itself_have_no_diversity() -> None:
    labels = torch.zeros(6, dtype=torch.long)
    wrong = torch.tensor([1, 2, 0, 0, 1, 0])
    assert ratio_error(wrong, wrong, labels) == 0
    assert diversity([wrong, wrong, wrong], labels) == 0


def test_independent_errors_have_the_ratio_of_chance() -> None:
    """Two models that err independently with probability p: 2 p (1 - p) / p^2 = 2 (1 - p) / p."""
    generator = torch.Generator().manual_seed(0)
    wrong = (torch.rand(2, 200_000, generator=generator) < 0.25).long()
    assert ratio_error(wrong[0], wrong[1], torch.zeros(200_000, dtype=torch.long)) == pytest.approx(6.0, rel=0.03)


@pytest.mark.parametrize("seed", range(3))
def test_the_terms_add_up_to_the_error_of_the_ensemble(seed: int) -> None:
    outputs, targets = runs(seed), torch.randn(5, 3, generator=torch.Generator().manual_seed(9))
    ensemble = (outputs.mean(1) - targets).square().sum(-1).mean()
    assert decompose(outputs, targets).error == pytest.approx(float(ensemble), rel=1e-5)


def test_each_term_by_its_own_definition() -> None:
    outputs, targets = runs(1), torch.randn(5, 3, generator=torch.Generator().manual_seed(9))
    found = decompose(outputs, targets)
    off = (outputs - outputs.mean((0, 1))).double()
    pairs = [(off[:, m] * off[:, k]).sum(-1).mean() for m in range(4) for k in range(4) if m != k]
    assert found.variance == pytest.approx(float(off.square().sum(-1).mean()), rel=1e-6)
    assert found.covariance == pytest.approx(float(sum(pairs)) / len(pairs), rel=1e-5)
    assert found.bias == pytest.approx(float((outputs.mean((0, 1)) - targets).square().sum(-1).mean()), rel=1e-5)
    assert isnan(found.locality)


def test_members_that_are_copies_gain_nothing() -> None:
    """The paper's point: with covariance = variance averaging leaves the error as it is; independence divides the variance by M."""
    one = torch.randn(2000, 1, 3, 2, generator=torch.Generator().manual_seed(0))
    copies = decompose(one.expand(-1, 4, -1, -1), torch.zeros(3, 2))
    assert copies.covariance == pytest.approx(copies.variance, rel=1e-6)
    apart = decompose(torch.randn(2000, 4, 3, 2, generator=torch.Generator().manual_seed(1)), torch.zeros(3, 2))
    assert abs(apart.covariance) < 0.03 * apart.variance
    assert apart.error == pytest.approx(copies.error / 4, rel=0.05)


def test_classes_are_one_hot_rows() -> None:
    labels = torch.tensor([0, 2, 1, 1, 0])
    whole, rows = decompose(runs(2), labels), decompose(runs(2), torch.eye(3)[labels])
    assert (whole.bias, whole.error) == pytest.approx((rows.bias, rows.error))
    assert whole.bias != pytest.approx(decompose(runs(2), labels.roll(1)).bias)


def test_locality_is_the_farthest_members_squared_distance() -> None:
    members = [Weights.of({"a": torch.tensor([x, 0.0]), "b": torch.tensor([[y]])}) for x, y in ((0.0, 0.0), (3.0, 0.0), (0.0, 6.0))]
    mean = torch.tensor([1.0, 2.0])
    expected = max(float((torch.tensor(point) - mean).square().sum()) for point in ((0.0, 0.0), (3.0, 0.0), (0.0, 6.0)))
    assert locality(members) == pytest.approx(expected, rel=1e-6)
    found = decompose(runs(0, (2, 3, 4, 2)), torch.zeros(4, 2), weights=[members, [members[0]] * 3])
    assert found.locality == pytest.approx(expected / 2, rel=1e-6)


def test_bad_calls() -> None:
    labels = torch.zeros(3, dtype=torch.long)
    with pytest.raises(BadParameter, match=r"one class an example; found shapes \[\(3,\), \(2,\), \(3,\)\]"):
        ratio_error(labels, labels[:2], labels)
    with pytest.raises(TooFewSets, match="pairs of models, found 1 model"):
        diversity([labels], labels)
    with pytest.raises(TooFewSets, match="at least 2 runs of at least 2 members, found 1 of 4"):
        decompose(runs(0, (1, 4, 3, 2)), labels)
    with pytest.raises(BadParameter, match=r"targets of shape \(4, 2\) do not fit predictions of 3 examples"):
        decompose(runs(0, (2, 4, 3, 2)), torch.zeros(4, 2))
    with pytest.raises(BadParameter, match=r"weights of \[1\] members do not fit predictions of 2 runs of 4 members"):
        decompose(runs(0, (2, 4, 3, 2)), labels, weights=[[Weights.of({"w": torch.zeros(1)})]])
    with pytest.raises(TooFewSets, match="at least one member"):
        locality([])


def test_cost_counts_shared_tensors_once() -> None:
    shared = torch.zeros(4, 2, dtype=torch.bfloat16)
    weights = Weights.of({"embed": shared, "head": shared, "norm": torch.ones(2), "steps": torch.tensor([1, 2])})
    assert cost(weights) == Cost(parameters=10, others=2, nbytes=16 + 8 + 16, tensors=3)
