"""Networks as predictors: what their loss and their uncertain weights are for."""

import numpy as np
import pytest

from loomweight.errors import BadParameter
from loomweight.search import MLP, ParZC

from .nasbench import labelled, spearman, table


def test_the_kendall_loss_ranks_better_than_squared_errors() -> None:
    """100 skewed labels of NAS-Bench-201, one-hot: the same networks, another loss."""
    whole = table()
    some = labelled(0, 100, len(whole.accuracy))
    found = {loss: MLP(loss=loss, steps=150).fit(whole.one_hot[some], whole.accuracy[some]).predict(whole.one_hot) for loss in ("squared", "kendall")}
    assert spearman(found["kendall"], whole.accuracy) > spearman(found["squared"], whole.accuracy) + 0.05
    assert spearman(found["kendall"], whole.accuracy) > 0.753


def test_a_loss_of_the_order_does_not_see_bends() -> None:
    draw = np.random.default_rng(0)
    x = draw.normal(size=(40, 3))
    y = x[:, 0] - x[:, 1]
    net = MLP(loss="kendall", steps=100, members=2)
    one, other = net.fit(x, y).predict(x), net.fit(x, np.exp(2 * y)).predict(x)
    assert spearman(one, y) > 0.97 and spearman(other, y) > 0.97
    assert abs(one.mean() - y.mean()) < 0.05  # the line brings scores into the unit of the labels


def test_members_disagree_where_there_are_no_labels() -> None:
    x = np.linspace(-1, 1, 30)[:, None]
    belief = MLP(steps=300).fit(x, np.sin(3 * x[:, 0])).posterior([[0.0], [4.0]])
    assert belief.spread[1] > 5 * belief.spread[0] > 0


def test_the_same_seed_gives_the_same_network() -> None:
    x = np.random.default_rng(1).normal(size=(20, 4))
    for make in (lambda seed: MLP(steps=20, seed=seed), lambda seed: ParZC(steps=20, seed=seed)):
        first, again, other = (make(seed).fit(x, x[:, 0]).predict(x) for seed in (0, 0, 1))
        assert (first == again).all() and not (first == other).all()


def test_parzc_learns_which_nodes_count() -> None:
    """Twelve nodes, of which two decide and ten are noise: their sum, a plain proxy, ranks badly; learned weights do not."""
    draw = np.random.default_rng(2)
    nodes = draw.normal(size=(400, 12, 2))
    worth = 2 * nodes[:, 3, 0] - nodes[:, 8, 1]
    rows = nodes.reshape(400, -1)
    found = ParZC(steps=150).fit(rows[:100], worth[:100]).predict(rows[100:])
    assert spearman(rows[100:].sum(axis=1), worth[100:]) < 0.4
    assert spearman(found, worth[100:]) > 0.75


def test_parzc_beats_the_count_of_operations() -> None:
    whole = table()
    some = labelled(1, 100, len(whole.accuracy))
    found = ParZC(steps=150).fit(whole.codes[some], whole.accuracy[some]).posterior(whole.codes[:4000])
    assert spearman(found.mean, whole.accuracy[:4000]) > 0.85
    assert (found.spread > 0).all()


def test_bad_configurations() -> None:
    with pytest.raises(BadParameter, match="loss is one of squared, kendall"):
        MLP(loss="spearman")
    with pytest.raises(BadParameter, match="loss is one of"):
        ParZC(loss="mse")
    for wrong in (lambda: MLP(()), lambda: MLP(rate=0.0), lambda: ParZC(0)):
        with pytest.raises(BadParameter, match="at least 1"):
            wrong()
