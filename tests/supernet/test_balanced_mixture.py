"""Usage stays uniform whatever the accuracies are, configurations find the supernet that suits them, and that pays."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from loomweight.errors import BadParameter
from loomweight.supernet import BalancedMixture, Elastic, SinglePath, SubnetOptimizer, Uniform, elastic
from loomweight.supernet.sharing.balanced_mixture import balanced


def small() -> Elastic:
    torch.manual_seed(0)
    return elastic(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)), "width 0 : 2 4 8\nwidth 1 : 2 8", torch.zeros(1, 4))


def simulated(accuracy: np.ndarray, draws: int = 600) -> BalancedMixture:
    """A mixture that is told planted accuracies, without any training."""
    net = small()
    mixture = BalancedMixture(net, lambda net: float(accuracy[mixture._drawn]), accuracy.shape[1], decay=0.5)
    random = np.random.default_rng(0)
    for i in range(draws):
        mixture.told(mixture.draw(net, random, i / draws), 0.0, net)
    return mixture


def test_usage_is_uniform_where_one_supernet_is_better_everywhere() -> None:
    accuracy = np.tile([0.9, 0.1], (6, 1))
    used = simulated(accuracy).used.sum(0) / 600
    assert abs(used - 0.5).max() < 3 * (0.25 / 600) ** 0.5
    alone = np.exp(100 * accuracy) / np.exp(100 * accuracy).sum(1, keepdims=True)
    assert alone.mean(0)[0] > 0.999  # what the softmax alone would use


def test_usage_is_uniform_among_three() -> None:
    used = simulated(np.random.default_rng(1).random((6, 3)), 900).used.sum(0) / 900
    assert abs(used - 1 / 3).max() < 3 * (2 / 9 / 900) ** 0.5


def test_configurations_find_the_supernet_that_suits_them() -> None:
    accuracy = np.array([[0.9, 0.5]] * 3 + [[0.5, 0.9]] * 3)
    mixture = simulated(accuracy)
    assert mixture.probabilities(1.0).argmax(1).tolist() == [0, 0, 0, 1, 1, 1]
    mixture.settled()
    assert [mixture.supernet(values) for values in mixture.configurations] == [0, 0, 0, 1, 1, 1]


def test_the_best_is_the_best_in_its_home() -> None:
    accuracy = np.array([[0.6, 0.1], [0.7, 0.2], [0.65, 0.1], [0.1, 0.6], [0.2, 0.8], [0.1, 0.6]])
    assert simulated(accuracy).best() == simulated(accuracy).configurations[4]


@settings(max_examples=40)
@given(st.integers(2, 12), st.integers(2, 4), st.floats(0, 200), st.integers(0, 99))
def test_balancing_scales_rows_and_columns_only(n: int, m: int, temperature: float, seed: int) -> None:
    scores = temperature * np.random.default_rng(seed).random((n, m))
    odds = balanced(scores, 1e-6)
    np.testing.assert_allclose(odds.sum(1), 1, rtol=1e-9)
    mean = odds.mean(0)
    assert (mean * np.log(mean * m)).sum() <= 1e-6
    ratios = np.log(odds) - scores  # of scaled rows and columns, this is a sum of one number a row and one a column
    np.testing.assert_allclose(ratios - ratios[:1] - ratios[:, :1] + ratios[0, 0], 0, atol=1e-6)


class Turn(nn.Module):
    """One shared layer; the kept blocks say whether its outputs are taken as they are, or negated."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Linear(4, 3)
        self.signs = nn.ModuleList([nn.Identity(), Minus()])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.shared(x)
        for sign in self.signs:
            x = sign(x)
        return x


class Minus(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -x


def test_conflicting_configurations_part_by_themselves() -> None:
    """Trained jointly, the shared layer cannot be right for both; the mixture sends them apart without being told which they are."""
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    y = x[:, :3]

    def score(net: Elastic) -> float:
        with torch.no_grad():
            return 1 / (1 + nn.functional.mse_loss(net(x), y).item())

    def worst(mixed: bool) -> float:
        torch.manual_seed(0)
        net = elastic(Turn(), "depth signs : 1 2", x[:1])
        mixture = BalancedMixture(net, score, temperature=(20.0, 100.0)) if mixed else None
        step = SinglePath(loss=nn.functional.mse_loss, sampler=mixture or Uniform(), seed=1, total=200 if mixed else None)
        optimizer = SubnetOptimizer(net, torch.optim.Adam(net.parameters(), lr=0.03))
        for _ in range(200):
            optimizer.zero_grad()
            step(net, x, y)
            optimizer.step()
        if mixture:
            mixture.settled()
            assert mixture.supernet({"depth signs": 1}) != mixture.supernet({"depth signs": 2})
            assert abs(mixture.used.sum(0) / 200 - 0.5).max() < 3 * (0.25 / 200) ** 0.5
        return min(score(net.select(values)) for values in net.space.enumerate())

    assert worst(True) > 0.95 > 0.7 > worst(False)


def test_only_some_configurations_are_drawn() -> None:
    net = small()
    among = [{"width 1": 8, "width 0": 4}, {"width 0": 8, "width 1": 2}]
    mixture = BalancedMixture(net, lambda net: 0.5, among=among)
    assert net.select(net.max()).active not in among and mixture.supernet(net.max()) == 0
    random, drawn = np.random.default_rng(0), []
    for i in range(40):
        drawn.append(mixture.draw(net, random, i / 40))
        mixture.told(drawn[-1], 0.0, net)
    assert {tuple(sorted(values.items())) for values in drawn} == {tuple(sorted(values.items())) for values in among}
    assert mixture.accuracy.shape == (2, 2) and mixture.used.sum() == 40 and mixture.best() in among


def test_a_run_goes_on_exactly() -> None:
    accuracy = np.random.default_rng(2).random((6, 2))
    one = simulated(accuracy, 50)
    other = BalancedMixture(small(), one.validate, decay=0.5)
    other.load_state_dict(one.state_dict())
    a, b = ([mixture.draw(small(), np.random.default_rng(5), 0.5) for _ in range(3)] for mixture in (one, other))
    assert a == b and (one.used == other.used).all() and (one.probabilities(0.7) == other.probabilities(0.7)).all()


def test_messages() -> None:
    with pytest.raises(BadParameter, match="supernets=1"):
        BalancedMixture(small(), lambda net: 0.5, 1)
    mixture = BalancedMixture(small(), lambda net: 87.0)
    with pytest.raises(BadParameter, match=r"accuracy from 0 to 1, found 87\.0"):
        mixture.told(mixture.draw(small(), np.random.default_rng(0), 0.0), 0.0, small())
    with pytest.raises(BadParameter, match="no configuration was trained yet"):
        BalancedMixture(small(), lambda net: 0.5).best()
    with pytest.raises(BadParameter, match=r"its table is \(2, 2\), this one's \(6, 2\)"):
        mixture.load_state_dict({"accuracy": [[1, 1], [1, 1]]})
    for among in ([], [{"width 0": 2, "width 1": 8}] * 2):
        with pytest.raises(BadParameter, match=f"different configurations, at least one; found {len(among)}"):
            BalancedMixture(small(), lambda net: 0.5, among=among)
    wide = elastic(nn.Sequential(*(nn.Linear(8, 8) for _ in range(6))), "width * : 1 2 3 4 5 6 7 8", torch.zeros(1, 8))
    with pytest.raises(BadParameter, match=r"the space has 32,768 configurations"):
        BalancedMixture(wide, lambda net: 0.5)
