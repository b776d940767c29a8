"""Search a trained supernet: what its subnets are worth, and the front under limits of cost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ...engines import Engine
from ...search import Budget, Found, find
from ..elastic import Elastic, Values
from .judge import score

#: makes the trained net and the batches to judge by; called once in each process
Build = Callable[[], tuple[Elastic, Sequence[Any]]]


@dataclass(frozen=True)
class Judge:
    """The worth of a configuration; it travels to other processes as the words that make the net there.

    Args:
        build: makes the net and the batches; a function of a module, so that it travels.
        by: accuracy or loss (then its negative, so that larger is better).
    """

    build: Build
    by: str = "accuracy"

    def __call__(self, values: Values) -> float:
        net, batches = _built(self.build)
        found = score(net, values, batches)
        return found.accuracy if self.by == "accuracy" else -found.loss


@cache
def _built(build: Build) -> tuple[Elastic, Sequence[Any]]:
    return build()


def judged(build: Build, by: str = "accuracy") -> Judge:
    """A judge of configurations, for `search.find`."""
    return Judge(build, by)


def searched(
    net: Elastic,
    judge: Judge,
    folder: str | Path,
    *,
    minimise: Sequence[str] = ("params",),
    limits: Mapping[str, str] | None = None,
    budget: Budget | None = None,
    engine: Engine | None = None,
) -> Found:
    """Search with a diary in the folder of the run: an interrupted search goes on there.

    Args:
        net: for its space and costs.
        judge: of configurations.
        folder: of the run.
        minimise: costs that are objectives beside the worth.
        limits: cost -> limit, {"params": "<= 1e5"}.
        budget: 100 trials by default.
        engine: where subnets are judged.
    """
    return find(
        net, {judge.by: judge}, minimise=tuple(minimise), subject_to=limits, budget=budget or Budget(100), engine=engine, storage=Path(folder) / "search.jsonl"
    )
