"""Find the best architecture that keeps its limits, or the front between objectives.

The limits are checked on the costs before an architecture is proposed, so none that breaks them is ever evaluated. Nothing here
knows what a network is: whatever has a `space` and a `cost` can be searched, a supernet as well as a table.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ..engines import Engine, Inline
from ..errors import BadParameter, LoomweightError
from .budget import Budget
from .feasible import Feasible
from .front import Direction
from .limits import cost_of, has_cost, limits
from .sampler import Sampler, key_of
from .space import Space, Values
from .study import Study
from .trial import Trial
from .within import Within

Judge = Callable[[Values], Any]


@runtime_checkable
class Searchable(Protocol):
    """What can be searched: a supernet, a table, anything with these two."""

    @property
    def space(self) -> Space:
        """What may be chosen."""
        ...

    def cost(self, values: Values, /) -> Any:
        """What a configuration costs: an object or a mapping with numbers by name."""
        ...


@dataclass(frozen=True)
class Found:
    """What a search has found; its study is closed."""

    study: Study
    region: Feasible

    @property
    def best(self) -> Trial:
        """The best trial of one objective; its `parameters` are the architecture, its `values` what it is worth."""
        return self.study.best

    @property
    def front(self) -> tuple[Trial, ...]:
        """The trials that no other one beats in every objective; of an architecture that was proposed again, the first trial."""
        first = {key_of(trial.parameters): trial for trial in reversed(self.study.front)}
        return tuple(sorted(first.values(), key=lambda trial: trial.number))

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials, those that failed with their reasons."""
        return self.study.trials

    def cost(self, trial: Trial) -> Any:
        """What the trial's architecture costs."""
        return self.region.cost(trial.parameters)

    def plot(self, path: str | Path) -> Path:
        """Draw the search: each objective over time, and the front for every pair of them (png, svg, pdf)."""
        return self.study.plot(path)


def find(
    net: Searchable,
    maximise: Judge | Mapping[str, Judge],
    *,
    minimise: Sequence[str] | Mapping[str, Judge] = (),
    subject_to: Mapping[str, Any] | None = None,
    budget: Budget | int = 100,
    engine: Engine | None = None,
    storage: str | Path | None = None,
) -> Found:
    """Search the architectures of `net` that keep the limits.

    No architecture is evaluated twice, unless the sampler wants repeats: what is proposed again is told what it was told before.
    An evaluation that gives NaN, raises a `LoomweightError`, or whose worker dies is a failed trial with its reason; the search goes
    on. Limits of costs are kept by every proposal of every sampler.

    Args:
        net: has a `space` and `cost(values)`.
        maximise: what an architecture is worth, or name -> that for several objectives. It is given `values`; with threads as the
            engine it must not select subnets of one net that other threads share.
        minimise: names of costs, or name -> function.
        subject_to: cost -> limit, such as {"params": "<= 1e6", "latency_ms": "<= 5"}; put costs that must be measured last.
        budget: a number of trials, or a `Budget` that also says sampler, seed and trials at once.
        engine: where architectures are evaluated, several at once: `Ray(4)`, say.
        storage: a file that remembers; an interrupted search goes on there. One of another space, other limits or objectives is refused.

    Raises:
        BadParameter: no architecture keeps the limits (the message says the smallest cost seen); a limit cannot be read; two objectives
            have one name.
        UnknownName: there is no such cost.

    >>> from types import SimpleNamespace
    >>> from loomweight.search import Ordered
    >>> space = Space({"depth": Ordered((1, 2, 3, 4)), "width": Ordered((8, 16, 32))})
    >>> net = SimpleNamespace(space=space, cost=lambda values: {"params": values["depth"] * values["width"] ** 2})
    >>> found = find(net, lambda values: values["depth"] + values["width"], subject_to={"params": "<= 600"}, budget=Budget(12, "evolution"))
    >>> found.best.parameters, found.cost(found.best)
    ({'depth': 2, 'width': 16}, {'params': 512})
    """
    plan = budget if isinstance(budget, Budget) else Budget(budget)
    judges = dict(maximise) if isinstance(maximise, Mapping) else {"objective": maximise}
    wanted: dict[str, Judge | None] = dict(minimise) if isinstance(minimise, Mapping) else dict.fromkeys(_listed(minimise))
    if both := [name for name in judges if name in wanted]:
        raise BadParameter(f"{both[0]!r} is to be maximised and minimised; give the two different names.")
    kept = limits(subject_to or {})
    region = Feasible(net.space, net.cost, kept)
    _known_costs(region, [limit.name for limit in kept] + [name for name, judge in wanted.items() if judge is None])
    directions: dict[str, Direction] = {**dict.fromkeys(judges, "max"), **dict.fromkeys(wanted, "min")}
    with Study(net.space, directions, sampler=Within(plan.sampler, region, fresh=True), seed=plan.seed, storage=storage) as study:
        repeats = (isinstance(plan.sampler, Sampler) and plan.sampler.repeats) or plan.sampler == "emars"
        known = {} if repeats else {key_of(trial.parameters): trial.values for trial in study.trials if trial.finished}
        judged = _Judged(engine or Inline(), region, {**judges, **wanted}, known, repeats)
        study.run(_Judge({name: judge for name, judge in judged.judges.items() if judge is not None}), plan.trials, engine=judged, at_once=plan.at_once)
    return Found(study, region)


def _known_costs(region: Feasible, names: Sequence[str]) -> None:
    """A name that is no cost shows before anything is evaluated."""
    if names:
        cost = region.cost(region.space.sample(0))
        for name in names:
            has_cost(cost, name)


def _listed(names: Sequence[str]) -> Sequence[str]:
    if isinstance(names, str):
        raise BadParameter(f"minimise lists names of costs, or maps names to functions; write ({names!r},) for one cost.")
    return names


@dataclass(frozen=True)
class _Judge:
    """All functions, called where the work is done."""

    judges: Mapping[str, Judge]

    def __call__(self, values: Values) -> dict[str, Any]:
        return {name: judge(dict(values)) for name, judge in self.judges.items()}


@dataclass(frozen=True)
class _Judged(Engine):
    """An engine that adds costs to what evaluations give, and does not repeat them."""

    engine: Engine
    region: Feasible
    judges: Mapping[str, Judge | None]
    known: dict[tuple[Any, ...], tuple[Any, ...]] = field(default_factory=dict)
    repeats: bool = False
    failed: dict[tuple[Any, ...], LoomweightError] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Workers of the engine."""
        return getattr(self.engine, "count", 1)

    def map(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        """The engine's."""
        return self.engine.map(function, tasks)

    def attempt(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        """A row for each architecture, or the error that it ended in; each is evaluated once."""
        batch = list(tasks)
        fresh = {key_of(values): values for values in batch if not self._is_known(values)}
        results = self.engine.attempt(function, batch if self.repeats else list(fresh.values()))
        for values in batch:
            key = key_of(values)
            if not self._is_known(values):
                result = next(results)
                if isinstance(result, LoomweightError):
                    self.failed[key] = result
                else:
                    self.known[key] = self._row(values, result)
            yield self.failed.pop(key) if self.repeats and key in self.failed else self.failed.get(key) or self.known[key]

    def _is_known(self, values: Values) -> bool:
        return not self.repeats and (key_of(values) in self.known or key_of(values) in self.failed)

    def _row(self, values: Values, result: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(cost_of(self.region.cost(values), name) if judge is None else result[name] for name, judge in self.judges.items())
