"""Samplers by name, Optuna's among them, and their random numbers.

Every trial gets a fresh sampler whose seed comes from (seed, number of the trial). So what a trial is asked to try depends on
the trials before it and on nothing else: a study that was stopped goes on exactly as if it had not been.

Papers: The CMA Evolution Strategy: A Tutorial (2016, https://arxiv.org/abs/1604.00772); CMA-ES with Margin: Lower-Bounding
Marginal Probability for Mixed-Integer Black-Box Optimization (2022, https://arxiv.org/abs/2205.13482), used where the space
holds whole numbers; Algorithms for Hyper-Parameter Optimization (2011) and Multiobjective Tree-Structured Parzen Estimator
(2022), both TPE; A fast and elitist multiobjective genetic algorithm: NSGA-II (2002).
"""

import hashlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import BadParameter, MissingExtra, unknown
from .bandit import NestedBandit
from .choice import Ordered
from .dimension import Int
from .emars import EMARS
from .evolution import RegularisedEvolution
from .mutation import LocalMutation
from .predict.boshnas import BOSHNAS
from .sampler import Sampler
from .space import Space

#: ours, functions of a study's past; the others are Optuna's
OWN: dict[str, Callable[..., Sampler]] = {
    "evolution": RegularisedEvolution,
    "mutation": LocalMutation,
    "bandit": NestedBandit,
    "emars": EMARS,
    "boshnas": BOSHNAS,
}
KINDS = ("auto", "cmaes", "tpe", "random", "nsga2", *OWN)


def own(kind: str | Sampler, population: int | None) -> Sampler | None:
    """The sampler of ours that is meant, with that population; None where it is one of Optuna's.

    Raises:
        BadParameter: a population is given to a sampler that has none, or beside a sampler that says its own.

    >>> own("evolution", 30), own("tpe", None)
    (RegularisedEvolution(population=30, sample=5, aging=True), None)
    """
    if isinstance(kind, Sampler):
        if population is not None:
            raise BadParameter(f"{kind} says its own population; leave out population = {population}.")
        return kind
    if kind not in OWN or population is None:
        return OWN[kind]() if kind in OWN else None
    if kind not in ("evolution", "emars"):
        raise BadParameter(f"{kind} has no population; leave out population = {population}.")
    return OWN[kind](population=population)


def chosen(kind: str, space: Space, objectives: int) -> str:
    """The sampler to use; "auto" is cmaes for numbers and one objective, tpe where there are choices or several objectives.

    Within the few hundred trials that merging can afford, TPE fills the Pareto front better than NSGA-II, which needs many
    generations (tests/search/test_study.py measures both).

    Raises:
        UnknownName: there is no such sampler.
        BadParameter: the sampler cannot search this space.

    >>> from .dimension import Float
    >>> chosen("auto", Space({"weight": Float(0, 1)}), objectives=1)
    'cmaes'
    """
    if kind not in KINDS:
        raise unknown("sampler", kind, KINDS)
    loose = [name for name, dimension in space.dimensions.items() if not dimension.ordered]
    if kind == "auto":
        return "tpe" if objectives > 1 or loose else "cmaes"
    if kind == "cmaes" and objectives > 1:
        raise BadParameter(f"cmaes searches one objective, found {objectives}; use nsga2 or tpe, or combine them into one number.")
    if kind == "cmaes" and loose:
        raise BadParameter(f"cmaes moves along numbers and would draw the choice {loose[0]!r} at random; use tpe, or one study for each option.")
    return kind


def sampler(kind: str, space: Space, seed: int, population: int | None) -> Any:
    """An Optuna sampler of a kind that `chosen` returned.

    Raises:
        MissingExtra: Optuna or, for cmaes, its cmaes library is not installed.
    """
    samplers = optuna().samplers
    if kind == "random":
        return samplers.RandomSampler(seed=seed)
    if kind == "tpe":
        return samplers.TPESampler(seed=seed)
    if kind == "nsga2":
        return samplers.NSGAIISampler(seed=seed, population_size=population or 20)
    margin = any(isinstance(dimension, Int | Ordered) for dimension in space.dimensions.values())
    return samplers.CmaEsSampler(seed=seed, popsize=population, with_margin=margin, warn_independent_sampling=False)


def seed_of(seed: int, number: int, attempt: int = 0) -> int:
    """32 random bits for an attempt at trial `number` of a study."""
    again = f"\0{attempt}" if attempt else ""
    return int.from_bytes(hashlib.sha256(f"search\0{seed}\0{number}{again}".encode()).digest()[:4], "little")


def optuna() -> Any:
    """Optuna and its CMA-ES, loaded when a study begins."""
    try:
        import cmaes as cmaes
        import optuna
    except ImportError as error:
        raise MissingExtra(f"searching needs {error.name}; install it with: pip install 'loomweight[search]'") from error
    return optuna


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna says errors only, and not that a sampler of its own is experimental; its settings are put back afterwards."""
    library = optuna()
    before = library.logging.get_verbosity()
    library.logging.set_verbosity(library.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", library.exceptions.ExperimentalWarning)
            yield
    finally:
        library.logging.set_verbosity(before)
