"""The assignment: largest sum, units stay where they can."""

from itertools import permutations
from math import fsum

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from loomweight.align import assignment
from loomweight.errors import BadParameter, NonFinite

small = st.integers(1, 5).flatmap(lambda n: arrays(np.float64, (n, n), elements=st.integers(-2, 2)))
any_size = st.integers(1, 12).flatmap(lambda n: arrays(np.float64, (n, n), elements=st.floats(-9, 9)))


def value(matrix: np.ndarray, order: list[int]) -> float:
    return fsum(matrix[i, j] for i, j in enumerate(order))


@given(small)
def test_no_other_order_is_better_and_the_identity_is_taken_where_it_is_as_good(matrix: np.ndarray) -> None:
    found = assignment(torch.from_numpy(matrix)).tolist()
    best = max(value(matrix, list(order)) for order in permutations(range(len(matrix))))
    assert value(matrix, found) == best
    if value(matrix, list(range(len(matrix)))) == best:
        assert found == list(range(len(matrix)))


@given(any_size, st.data())
def test_equal_units_keep_their_positions(matrix: np.ndarray, data: st.DataObject) -> None:
    copied = data.draw(st.lists(st.integers(0, len(matrix) - 1), min_size=len(matrix), max_size=len(matrix)))
    for repeated in (matrix[:, copied], matrix[copied]):
        order = assignment(torch.from_numpy(repeated)).tolist()
        for unit in set(copied):
            twins = [at for at, source in enumerate(copied) if source == unit]
            places = [order.index(at) for at in twins] if repeated.shape == matrix.shape and (repeated == matrix[:, copied]).all() else None
            if places is not None:
                assert places == sorted(places)
            if (repeated == matrix[copied]).all():
                assert [order[at] for at in twins] == sorted(order[at] for at in twins)


def test_nothing_to_choose_stays() -> None:
    assert assignment(torch.zeros(6, 6)).tolist() == list(range(6))
    dead = torch.eye(5) * torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0])
    assert assignment(dead).tolist() == list(range(5))
    assert assignment(dead[[4, 1, 0, 3, 2]]).tolist() == [4, 1, 0, 3, 2]


def test_a_batch_is_solved_one_by_one() -> None:
    batch = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(assignment(batch)[1, 2], assignment(batch[1, 2]))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_no_number_is_refused(bad: float) -> None:
    with pytest.raises(NonFinite, match="NaN or Inf"):
        assignment(torch.tensor([[1.0, bad], [0.0, 1.0]]))


def test_a_matrix_that_is_not_square_is_refused() -> None:
    with pytest.raises(BadParameter, match="square"):
        assignment(torch.zeros(2, 3))
