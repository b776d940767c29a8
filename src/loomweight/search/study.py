"""Ask and tell: a study proposes what to try, is told how good it was, and remembers.

Papers: Evolutionary Optimization of Model Merging Recipes (2024, https://arxiv.org/abs/2403.13187); If You Can't Use Them,
Recycle Them: Optimizing Merging at Scale Mitigates Performance Tradeoffs (2024, https://arxiv.org/abs/2412.04144). Both search
merging weights with CMA-ES. Nothing here knows of weights: a study chooses numbers and options, by name.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import isfinite, isnan
from pathlib import Path
from typing import Any

import numpy as np

from ..engines import Engine, Inline
from ..engines.progress import track
from ..errors import BadParameter, BrokenFile, LoomweightError
from .front import Direction, front
from .journal import Entry, Journal
from .proposals import proposals
from .sampler import Sampler, key_of
from .samplers import chosen, own, seed_of
from .space import Space, Values
from .trial import Trial
from .within import Region, Within

#: attempts at a proposal that lies where it may, before the nearest such values are taken
_ATTEMPTS = 8
#: ways tried to such values that are new
_DETOURS = 3


class Study:
    """A search over a `Space`, told one value for each objective.

    Args:
        space: what may be chosen.
        objectives: "max" or "min" for each objective, or name -> "max" or "min".
        sampler: Optuna's "cmaes" (numbers, one objective), "tpe", "random", "nsga2"; ours, for one objective, "evolution", "mutation",
            "bandit", "emars", "boshnas", or a `Sampler` with settings of its own; or "auto": cmaes where it can, else tpe.
        seed: the same seed, space and told values give the same proposals.
        storage: a file that remembers. An existing one is continued: what was open when its process ended is proposed again
            first, then the study goes on exactly as it would have. None keeps it in memory.
        first: what to try before the sampler's own proposals, a recipe's present values, say.
        population: trials in a generation of cmaes (None: 4 + 3 ln n) and nsga2 (None: 20), or in the population of evolution and
            emars (None: 20).

    CMA-ES of a single number is the (mu/mu_w, 4) strategy of one dimension; it is not replaced by random draws. To the sampler,
    and to it alone, a failed trial is as bad as the worst one so far: samplers learn to stay away from what fails.

    Raises:
        BadParameter: the objectives, `first` or the sampler do not fit; the file holds another study.
        OutputError, BrokenFile: the file cannot be used.
        MissingExtra: Optuna is not installed.

    >>> from loomweight.search import Float
    >>> study = Study(Space({"x": Float(-1, 1)}), ("min",), sampler="random", seed=1)
    >>> number, values = study.ask()
    >>> study.tell(number, values["x"] ** 2)
    >>> study.best.number
    0
    """

    def __init__(
        self,
        space: Space,
        objectives: Sequence[str] | Mapping[str, str] = ("max",),
        *,
        sampler: str | Sampler | Within = "auto",
        seed: int = 0,
        storage: str | Path | None = None,
        first: Sequence[Mapping[str, Any]] = (),
        population: int | None = None,
    ) -> None:
        self.space = space
        self.objectives = _named(objectives)
        self.seed, self.population = seed, population
        self.first = tuple(space.canonical(values) for values in first)
        if population is not None and population < 2:
            raise BadParameter(f"a population has at least 2 members, found {population}.")
        self._within = sampler if isinstance(sampler, Within) else Within(sampler, None)
        kind = self._within.sampler if isinstance(self._within.sampler, Sampler) else chosen(self._within.sampler, space, len(self.objectives))
        self._own = own(kind, population)
        self.sampler = str(self._own or kind)
        self._proposals = proposals(kind, space, tuple(self.objectives.values()), seed, population)
        self._lock = threading.Lock()
        self._trials: list[Trial] = []
        self._open: deque[int] = deque()
        self._journal = None if storage is None else Journal(Path(storage))
        try:
            self._continue()
        except BaseException:
            self.close()
            raise

    def ask(self) -> tuple[int, Values]:
        """Number and values of the next trial; several may be open at once, from several threads of one process."""
        with self._lock:
            if self._open:
                number = self._open.popleft()
                return number, dict(self._trials[number].parameters)
            number = len(self._trials)
            raw, passed = self._given(self.first[number], 0) if number < len(self.first) else self._proposed()
            self._write({"ask": number, "values": raw, **({"passed": passed} if passed else {})})
            return number, dict(self._trials[number].parameters)

    def tell(self, number: int, values: Any) -> None:
        """The value of each objective for a trial: a number, or a sequence of them. NaN makes it a failed trial.

        Raises:
            BadParameter: no such trial is open, or there is not one number for each objective.
        """
        row = self._row(values)
        if bad := [name for name, value in zip(self.objectives, row, strict=True) if isnan(value)]:
            self.fail(number, f"objective {bad[0]!r} is NaN")
            return
        with self._lock:
            self._told(number, row)
            self._write({"tell": number, "values": [_exact(value) for value in row]})

    def fail(self, number: int, why: str) -> None:
        """A trial has no values; the study goes on without it."""
        with self._lock:
            self._failed(number, why or "no reason was given")
            self._write({"fail": number, "why": why})

    def run(
        self, function: Callable[[Values], Any], trials: int, *, progress: bool = True, engine: Engine | None = None, at_once: int | None = None
    ) -> "Study":
        """Ask, call `function(values)` and tell, until the study holds this many trials, those of earlier runs counted.

        A `LoomweightError` in the function, or a worker of the engine that dies, fails that trial alone. Any other exception, Ctrl-C
        too, leaves the trial open: a later `run`, here or in another process on the same storage, tries it again first.

        Args:
            engine: where the function is called; None calls it here.
            at_once: trials that are asked before the first of them is told. What is tried depends on it, and on the engine through it
                alone. None: as many as the engine has workers.
        """
        engine = engine or Inline()
        width = at_once if at_once is not None else getattr(engine, "count", 1)
        if width < 1:
            raise BadParameter(f"at least 1 trial is tried at once, found {width}.")
        done = self._done()
        for _ in track(self._worked(function, trials, engine, width), "searching", max(trials - done, 0), show=progress):
            pass
        return self

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials in the order they were asked."""
        return tuple(self._trials)

    @property
    def best(self) -> Trial:
        """The best finished trial, the earliest of equals.

        Raises:
            BadParameter: there are several objectives, or no trial has finished.
        """
        if len(self.objectives) > 1:
            raise BadParameter(f"there is no best trial of {len(self.objectives)} objectives; use `front`.")
        (direction,) = self.objectives.values()
        sign = 1 if direction == "min" else -1
        return min(self._finished(), key=lambda trial: sign * trial.values[0])

    @property
    def front(self) -> tuple[Trial, ...]:
        """The finished trials that no other one beats in everything."""
        done = self._finished()
        return tuple(done[i] for i in front([trial.values for trial in done], tuple(self.objectives.values())))

    def plot(self, path: str | Path) -> Path:
        """Draw the values over time, the parameters behind them and, for several objectives, the Pareto front (png, svg, pdf)."""
        from .plot import draw

        return draw(self.objectives, self.space, self.trials, Path(path))

    def close(self) -> None:
        """Let go of the storage, so that another process may continue it."""
        if self._journal is not None:
            self._journal.close()

    def __enter__(self) -> "Study":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Study({len(self.space.names)} dimensions, {self.sampler}, {len(self._trials)} trials)"

    def _worked(self, function: Callable[[Values], Any], trials: int, engine: Engine, width: int) -> Iterator[int]:
        """The numbers of the trials, as they are told."""
        while (left := trials - self._done()) > 0:
            batch = [self.ask() for _ in range(min(width, left))]
            waiting = deque(number for number, _ in batch)
            try:
                for result in engine.attempt(function, [values for _, values in batch]):
                    if isinstance(result, LoomweightError):
                        self.fail(waiting[0], f"{type(result).__name__}: {result}")
                    else:
                        self.tell(waiting[0], result)
                    yield waiting.popleft()
            finally:
                self._open.extendleft(reversed(waiting))

    def _proposed(self) -> tuple[Values, int]:
        """A proposal of the sampler that lies where it may, and how many were passed over for it."""
        number, region = len(self._trials), self._within.region
        fresh = self._within.fresh and not (self._own and self._own.repeats)
        tried = {key_of(trial.parameters) for trial in self._trials} if fresh else set()
        spare: Values | None = None
        raw: Values = {}
        for attempt in range(_ATTEMPTS if region or fresh else 1):
            raw = self._proposals.propose(number, self._trials, attempt)
            values = self.space.canonical(raw)
            if region is not None and not region.holds(values):
                continue
            if key_of(values) not in tried:
                self._trials.append(Trial(number, values))
                return raw, attempt
            spare = spare or raw
        if region is not None and (spare is None or fresh):
            spare = self._nearest(region, self.space.canonical(spare or raw), tried)
        return self._given(spare or raw, _ATTEMPTS)

    def _nearest(self, region: Region, values: Values, tried: set[tuple[Any, ...]]) -> Values:
        """Values of the region near to these, such as have not been tried, if a few attempts find any."""
        found = values
        for attempt in range(_DETOURS):
            draw = np.random.default_rng(seed_of(self.seed, len(self._trials), _ATTEMPTS + attempt))
            start = self.space.mutate(values, draw) if attempt else values
            found = self.space.canonical(region.nearest(start, draw))
            if key_of(found) not in tried:
                break
        return found

    def _given(self, raw: Values, passed: int) -> tuple[Values, int]:
        """A trial whose values do not come from the sampler, or come from it by way of the file."""
        number = len(self._trials)
        self._proposals.given(number, raw, passed, number >= len(self.first))
        self._trials.append(Trial(number, self.space.canonical(raw)))
        return raw, passed

    def _told(self, number: int, row: tuple[float, ...]) -> None:
        self._be_open(number)
        self._proposals.told(number, row)
        self._trials[number] = replace(self._trials[number], values=row)

    def _failed(self, number: int, why: str) -> None:
        self._be_open(number)
        told = [row for row in (trial.values for trial in self._trials) if row and all(map(isfinite, row))]
        worst = [(min if d == "max" else max)(column) for d, column in zip(self.objectives.values(), zip(*told, strict=True), strict=False)]
        self._proposals.failed(number, worst)
        self._trials[number] = replace(self._trials[number], failure=why)

    def _be_open(self, number: int) -> None:
        if not (0 <= number < len(self._trials) and self._trials[number].open):
            raise BadParameter(f"trial {number} is not open: it was never asked, or it has been told already.")

    def _row(self, values: Any) -> tuple[float, ...]:
        try:
            row = tuple(float(value) for value in np.ravel(values))
        except (TypeError, ValueError) as error:
            raise BadParameter(f"a trial is told numbers, found {values!r}.") from error
        if len(row) != len(self.objectives):
            raise BadParameter(f"a trial is told {len(self.objectives)} numbers ({', '.join(self.objectives)}), found {list(row)}.")
        return row

    def _done(self) -> int:
        return sum(not trial.open for trial in self._trials)

    def _finished(self) -> list[Trial]:
        done = [trial for trial in self._trials if trial.finished]
        if not done:
            failures = [trial.failure for trial in self._trials if trial.failure]
            raise BadParameter(f"no trial has finished yet ({len(failures)} failed{', the last: ' + failures[-1] if failures else ''}).")
        return done

    def _header(self) -> Entry:
        return {
            "study": 1,
            "space": self.space.described(),
            "objectives": self.objectives,
            "sampler": self.sampler,
            "seed": self.seed,
            "population": self.population,
            "first": list(self.first),
            **({} if self._within.region is None else {"within": self._within.region.words}),
        }

    def _write(self, entry: Entry) -> None:
        if self._journal is not None:
            self._journal.add(entry)

    def _continue(self) -> None:
        """Go through what the file tells of, then hand out again what is still open."""
        if (journal := self._journal) is None:
            return
        entries = journal.entries()
        header = next(entries, None)
        if header is None:
            journal.add(self._header())
            return
        self._same(header, journal.path)
        for number, entry in enumerate(entries, 2):
            try:
                self._replay(entry)
            except (KeyError, TypeError, LoomweightError) as error:
                raise BrokenFile(f"{journal.path}, line {number}: this does not follow from the lines before ({error}).") from error
        self._open.extend(trial.number for trial in self._trials if trial.open)

    def _replay(self, entry: Entry) -> None:
        if "ask" in entry:
            self._given(self.space.check(entry["values"]), int(entry.get("passed", 0)))
        elif "tell" in entry:
            self._told(entry["tell"], self._row([float(value) for value in entry["values"]]))
        else:
            self._failed(entry["fail"], entry["why"])

    def _same(self, header: Entry, path: Path) -> None:
        """Raise unless the file holds this study."""
        mine = self._header()
        for key in {**mine, **header}:
            found, wanted = header.get(key), _plain(mine.get(key))
            if found != wanted:
                raise BadParameter(f"{path} holds another study: its {key} is {found!r}, not {wanted!r}; use another file or the same {key}.")


def _named(objectives: Sequence[str] | Mapping[str, str]) -> dict[str, Direction]:
    named = dict(objectives.items() if isinstance(objectives, Mapping) else ((f"objective {i}", d) for i, d in enumerate(objectives, 1)))
    if not named or any(direction not in ("max", "min") for direction in named.values()):
        raise BadParameter(f"objectives are 'max' or 'min', at least one of them; found {objectives!r}.")
    return {name: "max" if direction == "max" else "min" for name, direction in named.items()}


def _exact(value: float) -> float | str:
    """JSON has no infinity; a word stands for it."""
    return str(value) if value in (float("inf"), float("-inf")) else value


def _plain(value: Any) -> Any:
    """The value as it comes back from JSON."""
    import json

    return json.loads(json.dumps(value))
