"""Poisoned search spaces: what is added, what it does, and which searches it leads astray."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
import torch
from torch.nn import functional

from loomweight.errors import BadParameter, UnknownName
from loomweight.evaluate import antidote, poison_layer, poisoned, poisoning
from loomweight.evaluate.cell import CHOICES
from loomweight.evaluate.ranks.poison_layers import POISONS

from .tables import table

Ask = Callable[[dict[str, str]], float]
Choices = Mapping[str, Sequence[str]]
#: what poison amounts to in the table: all dropped is nothing; a kernel stretched beyond the image is its middle
INSTEAD = {"dropout_100": "none", "identity": "skip_connect", "stretched_3x3": "nor_conv_1x1"}


def score(values: dict[str, str]) -> float:
    return table().accuracy({edge: INSTEAD.get(antidote(option), option) for edge, option in values.items()}, split="val", epochs=12)


def drawn(choices: Choices, generator: np.random.Generator) -> dict[str, str]:
    return {field: options[generator.integers(len(options))] for field, options in choices.items()}


def chance(ask: Ask, choices: Choices, budget: int, seed: int) -> dict[str, str]:
    generator = np.random.default_rng(100 + seed)
    return max((drawn(choices, generator) for _ in range(budget)), key=ask)


def evolution(ask: Ask, choices: Choices, budget: int, seed: int) -> dict[str, str]:
    generator = np.random.default_rng(200 + seed)
    alive: deque[tuple[float, dict[str, str]]] = deque(maxlen=10)
    every = []
    for step in range(budget):
        values = drawn(choices, generator)
        if step >= 10:
            parent = max((alive[i] for i in generator.choice(10, 4, replace=False)), key=lambda one: one[0])[1]
            edge = list(choices)[generator.integers(len(choices))]
            values = {**parent, edge: values[edge]}
        alive.append((ask(values), values))
        every.append(alive[-1])
    return max(every, key=lambda one: one[0])[1]


def greedy_for_the_first(ask: Ask, choices: Choices, budget: int, seed: int) -> dict[str, str]:
    """Believes that what was added last is best."""
    return {field: options[-1] for field, options in choices.items()}


def test_copies_are_options_of_their_own() -> None:
    bad = poisoned(CHOICES, ("dropout_100", "identity"), copies=3)
    assert all(len(set(options)) == 5 + 6 for options in bad.values())
    assert {antidote(option) for option in bad["edge_0_1"][5:]} == {"dropout_100", "identity"}
    assert all(options[:5] == CHOICES[edge] for edge, options in bad.items())


def test_evolution_resists_what_random_search_does_not() -> None:
    found = poisoning(evolution, CHOICES, score, budget=200, poison=("dropout_100",), copies=6, seeds=12)
    assert found.offered == pytest.approx(6 / 11)
    assert found.resists
    assert found.taken < 0.5 * found.offered
    harm_to_random = np.mean(found.clean.random) - np.mean(found.poisoned.random)
    assert 0 <= found.damage < harm_to_random


def test_random_search_does_not_resist() -> None:
    found = poisoning(chance, CHOICES, score, budget=10, poison=("dropout_100",), copies=12, seeds=12)
    assert not found.resists
    assert found.damage > 3


def test_a_search_that_falls_for_it() -> None:
    found = poisoning(greedy_for_the_first, CHOICES, score, budget=1, poison=("dropout_100",), seeds=4)
    assert (found.taken, found.resists) == (1.0, False)
    assert np.mean(found.poisoned.found) == pytest.approx(10, abs=1)  # an empty network answers by chance


@pytest.mark.parametrize("name", POISONS)
def test_layers_keep_the_shape(name: str) -> None:
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert poison_layer(name, 3)(images).shape == images.shape


def test_what_the_layers_do() -> None:
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(poison_layer("identity", 3)(images), images)
    assert not poison_layer("dropout_100", 3)(images).any()
    # 1,536 draws: their standard deviation is known to 2 %, five of these are allowed
    assert float((poison_layer("noise_2", 3)(images) - images).std()) == pytest.approx(2.0, rel=0.1)
    stretched = poison_layer("stretched_3x3", 3)
    middle = functional.conv2d(images, stretched.weight[:, :, 1:2, 1:2], stretched.bias)
    torch.testing.assert_close(stretched(images), middle)  # only the middle of the kernel lies in the image
    state = torch.get_rng_state()
    poison_layer("noise_10", 3)(images)
    assert torch.equal(state, torch.get_rng_state())


def test_bad_calls() -> None:
    with pytest.raises(UnknownName, match="no poison named 'dropout'; nearest"):
        poison_layer("dropout", 3)
    with pytest.raises(BadParameter, match=r"at least one poison and one copy are needed, found \['identity'\] and 0"):
        poisoned(CHOICES, ("identity",), copies=0)
    with pytest.raises(BadParameter, match="edge_0_1 has the option 'none' already"):
        poisoned(CHOICES, ("none",))
