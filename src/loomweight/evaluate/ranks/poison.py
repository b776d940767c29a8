"""Search spaces with operations in them that do harm: how far is a search led astray?

Papers: Poisoning the Search Space in Neural Architecture Search (2021, https://arxiv.org/abs/2106.14406), sets of operations in many copies;
Towards One Shot Search Space Poisoning in Neural Architecture Search (2021, https://arxiv.org/abs/2111.07138), two operations once.
Original code: https://github.com/rusbridger/enas_poisoning. We differ: the papers attack ENAS; here any search is tested, beside random
search in the same poisoned space, since a space with bad operations is worse for all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import BadParameter
from .poison_layers import POISONS
from .search_phase import Score, SearchPhase, search_phase

Choices = Mapping[str, Sequence[str]]
Values = dict[str, str]

#: the two operations of the one-shot attack
ONE_SHOT = ("dropout_100", "stretched_3x3")


@dataclass(frozen=True)
class Poisoning:
    """A search in a clean and in a poisoned space.

    Args:
        clean, poisoned: the search beside random search, in each.
        taken: share of the fields of what the search returned that hold poison, mean over seeds.
        offered: share of the poisoned space's options that are poison: what drawing at random takes.
    """

    clean: SearchPhase
    poisoned: SearchPhase
    taken: float
    offered: float

    @property
    def damage(self) -> float:
        """What the search lost by the poison: mean truth in the clean space minus that in the poisoned one."""
        return float(np.mean(self.clean.found) - np.mean(self.poisoned.found))

    @property
    def resists(self) -> bool:
        """True where it takes less poison than drawing at random does, and still beats random search in the poisoned space."""
        return self.taken < self.offered and self.poisoned.better()


def poisoned(choices: Choices, poison: Sequence[str] = ONE_SHOT, copies: int = 1) -> dict[str, tuple[str, ...]]:
    """Choices with poison among the options of every field; copies are named `dropout_100#2` and so on.

    Part of: poisoning.

    Args:
        choices: field -> options.
        poison: operations to add: names of POISONS, or any others.
        copies: of each; the multiple-instance attack adds hundreds.

    Raises:
        BadParameter: no poison, no copy, or a field that has such an option.

    >>> poisoned({"edge": ("conv", "skip")}, ("identity",), copies=2)
    {'edge': ('conv', 'skip', 'identity', 'identity#2')}
    """
    added = [name if copy == 1 else f"{name}#{copy}" for name in poison for copy in range(1, copies + 1)]
    if not added:
        raise BadParameter(f"at least one poison and one copy are needed, found {list(poison)} and {copies}; POISONS has {', '.join(POISONS)}.")
    for field, options in choices.items():
        if both := set(added) & set(options):
            raise BadParameter(f"{field} has the option {min(both)!r} already.")
    return {field: (*options, *added) for field, options in choices.items()}


def poisoning(
    search: Callable[[Score, Choices, int, int], Values],
    choices: Choices,
    score: Score,
    *,
    budget: int,
    poison: Sequence[str] = ONE_SHOT,
    copies: int = 1,
    seeds: int = 10,
) -> Poisoning:
    """Run a search in a space and in the same space with poison, each beside random search of equal budget.

    Args:
        search: `search(ask, choices, budget, seed)` returns field -> option; it learns of scores by `ask(values)`, at most `budget` times.
        choices: field -> options, without poison.
        score: what values are worth; values may hold poison, whose copies `antidote` takes for one.
        budget, seeds: as for `search_phase`.
        poison, copies: as for `poisoned`.

    Raises:
        BadParameter: as for `poisoned` and `search_phase`.
        NonFinite: a score is NaN or infinite.

    >>> def worth(values):
    ...     return sum({"good": 1.0, "fair": 0.5}.get(option, -1.0) for option in values.values())
    >>> def chance(ask, choices, budget, seed):
    ...     import numpy
    ...     generator = numpy.random.default_rng(100 + seed)
    ...     return max(({field: str(generator.choice(options)) for field, options in choices.items()} for _ in range(budget)), key=ask)
    >>> fields = {name: ("good", "fair") for name in "abcd"}
    >>> found = poisoning(chance, fields, worth, budget=4, copies=3)
    >>> found.damage > 0.5, found.resists, found.offered
    (True, False, 0.75)
    """
    bad = poisoned(choices, poison, copies)
    returned: list[Values] = []

    def kept(ask: Score, limit: int, seed: int) -> Values:
        returned.append(search(ask, bad, limit, seed))
        return returned[-1]

    clean = search_phase(lambda ask, limit, seed: search(ask, choices, limit, seed), lambda g: _drawn(choices, g), score, budget=budget, seeds=seeds)
    harmed = search_phase(kept, lambda g: _drawn(bad, g), score, budget=budget, seeds=seeds)
    taken = np.mean([antidote(option) in poison for values in returned for option in values.values()])
    offered = np.mean([1 - len(options) / len(bad[field]) for field, options in choices.items()])
    return Poisoning(clean, harmed, float(taken), float(offered))


def antidote(option: str) -> str:
    """The name of an operation without the number of its copy.

    Part of: poisoning.

    >>> antidote("dropout_100#7")
    'dropout_100'
    """
    return option.partition("#")[0]


def _drawn(choices: Choices, generator: np.random.Generator) -> Values:
    return {field: options[int(generator.integers(len(options)))] for field, options in choices.items()}
