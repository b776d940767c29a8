"""RoBoT: the metrics' combination is found within the budget, then followed."""

import numpy as np
import pytest

from loomweight.errors import BadParameter
from loomweight.search import robot
from loomweight.search.predict.predictor import Array
from loomweight.search.predict.robot import ranking, scaled

from .nasbench import column, read

NAMES = ("params", "grad_norm", "snip", "log_synflow", "nwot", "epsinas")


def sample() -> tuple[dict[str, Array], dict[str, Array]]:
    """Metrics and accuracies of 400 architectures; where a metric is not finite it has no value."""
    rows = read("zero_cost_sample400.csv")
    metrics = {name: column(rows, name) for name in NAMES}
    return {k: np.where(np.isfinite(v), v, np.nan) for k, v in metrics.items()}, {d: column(rows, f"{d}_test_200ep") for d in ("c10", "c100", "in16")}


def complementary(seed: int = 0) -> tuple[dict[str, Array], Array]:
    """What is worth a - b: either metric alone ranks badly, and one of them the wrong way round."""
    a, b, noise = np.random.default_rng(seed).normal(size=(3, 300))
    return {"a": a, "b": b, "noise": noise}, a - b


@pytest.mark.parametrize("data", ["c10", "c100", "in16"])
@pytest.mark.parametrize("budget", [10, 20])
def test_it_is_as_good_as_the_best_single_metric(data: str, budget: int) -> None:
    """Of six metrics one cannot know which is best for a task. Every seed loses less than half of what random search loses to that one."""
    metrics, accuracies = sample()
    worth = accuracies[data]
    single = {name: max(worth[i] for i in ranking(scaled({name: values}), np.ones(1))[:budget]) for name, values in metrics.items()}
    found = [robot(metrics, lambda i: worth[i], budget, seed=seed).value for seed in range(3)]
    random = np.mean([worth[np.random.default_rng(seed).permutation(400)[:budget]].max() for seed in range(100)])
    assert max(single.values()) - min(found) < (max(single.values()) - random) / 2


def test_on_average_it_beats_the_best_single_metric_where_they_complete_each_other() -> None:
    better = []
    for seed in range(8):
        metrics, worth = complementary(seed)
        single = max(max(worth[i] for i in ranking(scaled({name: values}), np.ones(1))[:8]) for name, values in metrics.items())
        found = robot(metrics, lambda i: worth[i], 8)  # noqa: B023 - called at once
        better.append(float(found.value - single))
        assert found.weights["a"] > 0 > found.weights["b"]
    assert np.mean(better) > 0 and np.median(better) >= 0


def test_each_architecture_is_queried_once_and_within_the_budget() -> None:
    metrics, worth = complementary(1)
    asked: list[int] = []

    def query(position: int) -> float:
        asked.append(position)
        return float(worth[position])

    found = robot(metrics, query, 25)
    assert asked == list(found.queried) and len(set(asked)) == len(asked) == 25
    assert found.value == worth[found.best] == max(found.queried.values())


def test_after_the_search_for_weights_it_follows_the_ranking() -> None:
    metrics, worth = complementary(2)
    found = robot(metrics, lambda i: worth[i], 30, rounds=6)
    assert found.explored <= 6
    order = ranking(scaled(metrics), np.array(list(found.weights.values())))
    before = list(found.queried)[: found.explored]
    assert list(found.queried)[found.explored :] == [i for i in order if i not in before][: 30 - found.explored]


def test_what_has_no_value_counts_as_nothing() -> None:
    assert scaled({"a": [1.0, float("nan"), 3.0, 2.0]})[:, 0].tolist() == [0.0, 0.0, 1.0, 0.5]
    assert scaled({"same": [2.0, 2.0]})[:, 0].tolist() == [0.0, 0.0]


def test_the_unit_of_a_metric_does_not_matter() -> None:
    metrics, worth = complementary(3)
    other = {"a": 1000 * metrics["a"] + 5, "b": metrics["b"], "noise": metrics["noise"] * 1e-3}
    assert robot(metrics, lambda i: worth[i], 10).best == robot(other, lambda i: worth[i], 10).best


def test_a_budget_above_the_number_of_architectures_is_not_spent() -> None:
    assert len(robot({"a": [1.0, 2.0]}, float, 10).queried) == 2


def test_bad_input() -> None:
    for metrics, words in (
        ({}, "a value for each architecture"),
        ({"a": [1.0], "b": [1.0, 2.0]}, r"'a': 1, 'b': 2"),
        ({"a": [float("nan")] * 2}, "'a' has no value at all"),
        ({"a": [float("inf"), 1.0]}, "'a' is infinite"),
    ):
        with pytest.raises(BadParameter, match=words):
            robot(metrics, float, 2)
    with pytest.raises(BadParameter, match="at least 1 query"):
        robot({"a": [1.0]}, float, 0)
    with pytest.raises(BadParameter, match="query of architecture 1 gave nan"):
        robot({"a": [1.0, 2.0]}, lambda _: float("nan"), 2)
