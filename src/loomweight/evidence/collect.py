"""The loop over batches: skip what a checkpoint holds, fold the rest, write the running state now and then."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..engines.progress import track
from ..errors import BadParameter
from ..weights import Weights
from . import batches
from .checkpoint import keep, kept, place
from .fold import Fold, State
from .untouched import untouched


@dataclass(frozen=True)
class Run:
    """How a collection runs.

    Args:
        progress: show a bar on stderr, if that is a terminal.
        checkpoint: a `.safetensors` file for the running state. Where it exists the collection goes on from it, with the same
            result as without the stop; the loader must give the same batches in the same order, which is checked. It stays
            when all is done; remove it then.
        every: batches from one writing to the next.

    >>> Run(checkpoint="fisher.part.safetensors", every=100).every
    100
    """

    progress: bool = True
    checkpoint: str | Path | None = None
    every: int = 50

    def __post_init__(self) -> None:
        if self.every < 1:
            raise BadParameter(f"a running state is written every so many batches, at least 1, found {self.every}.")


def collect(fold: Fold, loader: Iterable[Any], run: Run, samples: int | None = None) -> Weights:
    """Fold the loader's batches, in evaluation mode, and leave the model as it was.

    Raises:
        BadParameter: the loader gives no example; `samples` is below 1; the checkpoint is of another model, statistic or data.
        NonFinite: from the fold, naming tensor and batch.
    """
    if samples is not None and samples < 1:
        raise BadParameter(f"evidence needs at least 1 sample, found samples = {samples}.")
    with untouched(fold.model):
        diary = _Memory(run) if run.checkpoint is None else _Diary(run, fold, samples)
        state = diary.begun(fold.start())
        if samples is None or state.examples < samples:
            _fold_all(fold, state, track(loader, fold.words, total=_length(loader), show=run.progress), samples, diary)
        if state.examples == 0:
            raise BadParameter("the loader gave no example; evidence needs at least one.")
        diary.finish(state)
        return fold.value(state)


class _Memory:
    """Keeps nothing on disk."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def begun(self, start: State) -> State:
        """The state to begin with."""
        return start

    def is_new(self, batch: Any) -> bool:
        """False for a batch that the state already holds."""
        return True

    def note(self, state: State) -> None:
        """A batch was added."""

    def exhausted(self) -> None:
        """The loader has no more batches."""

    def finish(self, state: State) -> None:
        """All is done."""


class _Diary(_Memory):
    """Writes the running state, goes on from one, and checks that the loader gives again what it holds."""

    def __init__(self, run: Run, fold: Fold, samples: int | None) -> None:
        super().__init__(run)
        self.path = place(run.checkpoint or "")
        self.key = f"{fold.key()} samples {samples}"
        self.held = State({})
        self.passed, self.seen = 0, ""

    def begun(self, start: State) -> State:
        """The state of the file, if there is one."""
        if not self.path.exists():
            return start
        sums, words = kept(self.path)
        if words["key"] != self.key:
            raise BadParameter(f"{self.path} holds the running state of another model, statistic or option; remove it, or name another file.")
        self.held = State({}, int(words["examples"]), int(words["batches"]), words["seen"])
        for name, tensor in start.sums.items():
            tensor.copy_(sums[name])
        start.examples, start.batches, start.seen = self.held.examples, self.held.batches, self.held.seen
        return start

    def is_new(self, batch: Any) -> bool:
        """Count and digest the batch; at the last one that the file holds, compare."""
        self.passed += 1
        self.seen = batches.digest(batch, self.seen)
        if self.passed == self.held.batches and self.seen != self.held.seen:
            raise BadParameter(
                f"the loader's first {self.passed} batches are not those whose sums {self.path} holds; give the same data in the"
                " same order (no shuffling), or remove the file to begin anew."
            )
        return self.passed > self.held.batches

    def note(self, state: State) -> None:
        """Write, if it is time."""
        state.seen = self.seen
        if state.batches % self.run.every == 0:
            self._write(state)

    def exhausted(self) -> None:
        """Fewer batches than the file holds are not the same data."""
        if self.passed < self.held.batches:
            raise BadParameter(f"the loader gave {self.passed} batches, {self.path} holds the sums of {self.held.batches}; give the same data.")

    def finish(self, state: State) -> None:
        """Write the last state."""
        self._write(state)

    def _write(self, state: State) -> None:
        keep(self.path, state.sums, {"key": self.key, "examples": str(state.examples), "batches": str(state.batches), "seen": state.seen})


def _fold_all(fold: Fold, state: State, loader: Iterable[Any], samples: int | None, diary: _Memory) -> None:
    device = next((parameter.device for parameter in fold.model.parameters()), torch.device("cpu"))
    for batch in loader:
        if not diary.is_new(batch):
            continue
        size = batches.size(batch)
        if samples is not None and state.examples + size > samples:
            size = samples - state.examples
            batch = batches.part(batch, 0, size)
        fold.add(state, batches.to_device(batch, device))
        state.examples, state.batches = state.examples + size, state.batches + 1
        diary.note(state)
        if state.examples == samples:
            return
    diary.exhausted()


def _length(loader: Iterable[Any]) -> int | None:
    return len(loader) if hasattr(loader, "__len__") else None  # type: ignore[arg-type]
