"""Searches beside random search, supernets beside themselves, children beside each other, controllers beside structure."""

from collections import deque
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from loomweight.errors import BadParameter, NonFinite, TooFewSets
from loomweight.evaluate import interference, run_variance, search_phase, structure_correlation
from loomweight.evaluate.cell import CHOICES, OPERATORS

from .tables import table

Ask = Callable[[dict[str, str]], float]


def draw(generator: np.random.Generator) -> dict[str, str]:
    return {edge: OPERATORS[generator.integers(5)] for edge in CHOICES}


def evolution(ask: Ask, budget: int, seed: int) -> dict[str, str]:
    """Regularised evolution: the best of 5 of the last 20 is changed in one edge."""
    generator = np.random.default_rng(1000 + seed)
    alive: deque[tuple[float, dict[str, str]]] = deque(maxlen=20)
    every = []
    for step in range(budget):
        if step < 20:
            arch = draw(generator)
        else:
            arch = dict(max((alive[i] for i in generator.choice(20, 5, replace=False)), key=lambda one: one[0])[1])
            edge = list(CHOICES)[generator.integers(6)]
            arch[edge] = OPERATORS[generator.choice([i for i in range(5) if OPERATORS[i] != arch[edge]])]
        alive.append((ask(arch), arch))
        every.append(alive[-1])
    return max(every, key=lambda one: one[0])[1]


def chance(ask: Ask, budget: int, seed: int) -> dict[str, str]:
    generator = np.random.default_rng(500 + seed)
    return max((draw(generator) for _ in range(budget)), key=ask)


def score(arch: dict[str, str]) -> float:
    return table().accuracy(arch, split="val", epochs=12)


def truth(arch: dict[str, str]) -> float:
    return table().accuracy(arch)


def test_evolution_beats_random_search_on_the_benchmark() -> None:
    phase = search_phase(evolution, draw, score, budget=200, seeds=20, truth=truth)
    assert phase.better(0.01)
    assert phase.difference.low > 0
    assert np.mean(phase.found) == pytest.approx(94.22, abs=0.15)  # 20 seeds of spread 0.21: a standard error of 0.05, three are allowed
    assert np.mean(phase.random) == pytest.approx(93.87, abs=0.15)  # 20 seeds of spread 0.21: a standard error of 0.05, three are allowed
    assert phase.improvement.value > 3
    assert "better than random search" in str(phase)


def test_random_search_does_not_beat_itself() -> None:
    phase = search_phase(chance, draw, score, budget=50, seeds=20, truth=truth)
    assert not phase.better()
    assert 0.2 < phase.superiority < 0.8
    assert "no better than random search, by this test" in str(phase)


def test_false_alarms_are_as_rare_as_they_should_be() -> None:
    """Of 40 comparisons of random search with itself, about one in twenty is called better."""
    generator = np.random.default_rng(0)

    def blind(ask: Callable[[float], float], budget: int, seed: int) -> float:
        return max((float(generator.random()) for _ in range(budget)), key=ask)

    alarms = sum(search_phase(blind, lambda g: float(generator.random()), float, budget=3, seeds=8).better() for _ in range(40))
    assert alarms <= 7


def test_no_search_scores_more_than_random_search_may() -> None:
    def greedy(ask: Ask, budget: int, seed: int) -> dict[str, str]:
        return chance(ask, budget + 1, seed)

    with pytest.raises(BadParameter, match="the search asked for a score more than 5 times, its budget"):
        search_phase(greedy, draw, score, budget=5, seeds=2)
    with pytest.raises(BadParameter, match="a budget of at least 1 and 2 seeds are needed, found 5 and 1"):
        search_phase(chance, draw, score, budget=5, seeds=1)
    with pytest.raises(NonFinite, match=r"the score of .* is nan; score what failed by the lowest value"):
        search_phase(chance, draw, lambda arch: float("nan"), budget=5, seeds=2)


def supernet(between: float, within: float, runs: int = 4, epochs: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores: the truth, a deviation of the run that stays, and one of the epoch that does not."""
    generator = np.random.default_rng(seed)
    quality = generator.normal(size=60)
    stays, passes = generator.normal(size=(runs, 1, 60)), generator.normal(size=(runs, epochs, 60))
    return quality + between * stays + within * passes, quality


def test_a_supernet_without_noise_agrees_with_itself() -> None:
    found = run_variance(*supernet(0, 0))
    assert (found.between_runs, found.between_epochs, found.common, found.winners, found.spread) == pytest.approx((1, 1, 1, 1, 0))
    assert found.truth == pytest.approx([1] * 4)
    assert found.averaged == pytest.approx(1)


def test_what_stays_in_a_run_and_what_passes_are_told_apart() -> None:
    runs, epochs = run_variance(*supernet(1.0, 0.0)), run_variance(*supernet(0.0, 1.0))
    assert runs.between_epochs == pytest.approx(1)
    assert runs.between_runs < 0.6
    assert abs(epochs.between_epochs - epochs.between_runs) < 0.1
    assert runs.spread == pytest.approx(1.0, rel=0.15)  # an estimate from a few runs, drawn with a fixed seed
    assert runs.winners <= 4 < epochs.winners


def test_high_variance_hides_a_ranking_that_is_there() -> None:
    """The paper's second finding: averaged over epochs and runs the scores follow the truth."""
    found = run_variance(*supernet(0.7, 1.5, epochs=10))
    assert max(found.truth) < 0.5 < 0.6 < found.averaged
    assert np.isnan(run_variance(supernet(1, 1)[0]).averaged)


def test_bad_tables_of_scores() -> None:
    scores, quality = supernet(1, 1)
    with pytest.raises(BadParameter, match=r"runs, epochs and architectures, found shape \(5, 60\)"):
        run_variance(scores[0])
    with pytest.raises(TooFewSets, match="at least 2 runs, 2 epochs and 3 architectures are needed, found 1, 5 and 60"):
        run_variance(scores[:1])
    with pytest.raises(BadParameter, match="there are 60 architectures; found top = 10 and 59 truths"):
        run_variance(scores, quality[1:])
    scores[1, 2, 3] = np.inf
    with pytest.raises(NonFinite, match=r"run, epoch, architecture \[1, 2, 3\] is not finite"):
        run_variance(scores)


class Shared(nn.Module):
    """Three children: two read the same weights and want different things of them, one has its own."""

    def __init__(self) -> None:
        super().__init__()
        self.common, self.own = nn.Parameter(torch.tensor([1.0, -2.0])), nn.Parameter(torch.tensor([0.5]))
        self.norm = nn.BatchNorm1d(2)

    def losses(self) -> dict[str, Callable[[], Tensor]]:
        return {
            "near": lambda: (self.common - torch.tensor([3.0, 0.0])).square().sum() + 0 * self.norm(torch.eye(2)).sum(),
            "far": lambda: (self.common - torch.tensor([-3.0, 1.0])).square().sum(),
            "own": lambda: (self.own - 2).square().sum(),
        }


def test_interference_by_hand() -> None:
    model, rate = Shared(), 0.1
    wants = {"near": torch.tensor([3.0, 0.0]), "far": torch.tensor([-3.0, 1.0])}
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = interference(model, model.losses(), rate)
    now = before["common"]
    for (row, a), (column, b) in product(enumerate(wants), repeat=2):
        stepped = now - rate * 2 * (now - wants[b])
        expected = (stepped - wants[a]).square().sum() - (now - wants[a]).square().sum()
        assert found[row, column] == pytest.approx(float(expected), rel=1e-5)  # float32 sums in another order
    assert found[0, 2] == found[1, 2] == found[2, 0] == found[2, 1] == 0
    assert found[2, 2] < 0 < found[0, 1]
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_interference_that_cannot_be_measured() -> None:
    model = Shared()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(BadParameter, match="at least one child and a rate above 0 are needed, found 0 and"):
        interference(model, {}, 0.1)
    with pytest.raises(BadParameter, match="the loss of child 'mute' has no gradient"):
        interference(model, {**model.losses(), "mute": lambda: torch.tensor(1.0)}, 0.1)
    with pytest.raises(NonFinite, match="the loss of child 'near' is inf; take a smaller rate"):
        interference(model, model.losses(), 1e30)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_states_that_follow_structure_and_states_that_do_not() -> None:
    generator = np.random.default_rng(0)
    archs = [draw(generator) for _ in range(40)]
    one_hot = np.array([[float(arch[edge] == operator) for edge in CHOICES for operator in OPERATORS] for arch in archs])
    follows = structure_correlation(one_hot + 0.1 * generator.normal(size=one_hot.shape), archs, permutations=99)
    blind = structure_correlation(generator.normal(size=(40, 30)), archs, permutations=99)
    assert follows.correlation > 0.9
    assert follows.p_value == 0.01
    assert abs(blind.correlation) < 0.2
    assert blind.p_value > 0.05


def test_states_that_cannot_be_compared() -> None:
    archs = [{"a": number} for number in range(4)]
    with pytest.raises(BadParameter, match=r"a row of features for each architecture.* found shape \(3, 2\) for 4"):
        structure_correlation(np.zeros((3, 2)), archs)
    with pytest.raises(TooFewSets, match="at least 4 architectures are needed, found 3"):
        structure_correlation(np.zeros((3, 2)), archs[:3])
    with pytest.raises(BadParameter, match="all distances are equal"):
        structure_correlation(np.zeros((4, 2)), archs)
