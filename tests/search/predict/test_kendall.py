"""The smooth Kendall correlation: its limit is the exact one, and its gradient pulls pairs into order."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loomweight.errors import BadParameter
from loomweight.search import soft_kendall

orders = st.integers(2, 12).flatmap(lambda n: st.tuples(st.permutations(range(n)), st.permutations(range(n))))


@given(orders)
def test_a_sharp_one_is_kendalls_tau(pair: tuple[list[int], list[int]]) -> None:
    kendalltau = pytest.importorskip("scipy.stats").kendalltau
    x, y = (torch.tensor(side, dtype=torch.float64) for side in pair)
    # at this sharpness tanh is 1 to the last bit of float64
    assert soft_kendall(x, y, sharpness=100.0).item() == pytest.approx(kendalltau(x.numpy(), y.numpy()).statistic, abs=1e-12)


def test_it_comes_nearer_as_it_gets_sharper() -> None:
    draw = np.random.default_rng(0)
    x, y = (torch.from_numpy(draw.permutation(20).astype(float)) for _ in range(2))
    exact = (torch.sign(x[:, None] - x) * torch.sign(y[:, None] - y)).sum().item() / (20 * 19)
    errors = [abs(soft_kendall(x, y, sharpness).item() - exact) for sharpness in (0.1, 1.0, 3.0, 30.0)]
    assert errors == sorted(errors, reverse=True) and errors[0] > 0.01 and errors[-1] < 1e-9


def test_ties_count_as_zero() -> None:
    assert soft_kendall(torch.tensor([1.0, 1.0, 2.0]), torch.tensor([1.0, 2.0, 3.0]), 1e3).item() == pytest.approx(2 / 3)


def test_following_its_gradient_sorts() -> None:
    wanted = torch.from_numpy(np.random.default_rng(1).permutation(8).astype(np.float32))
    score = torch.zeros(8, requires_grad=True)
    optimizer = torch.optim.SGD([score], lr=1.0)
    for _ in range(50):
        optimizer.zero_grad()
        (-soft_kendall(score, wanted, 2.0)).backward()
        optimizer.step()
    assert score.argsort().tolist() == wanted.argsort().tolist()


def test_bad_input() -> None:
    with pytest.raises(BadParameter, match="two vectors of one length"):
        soft_kendall(torch.ones(2), torch.ones(3))
    with pytest.raises(BadParameter, match="above 0"):
        soft_kendall(torch.ones(2), torch.ones(2), 0.0)
