"""What every average of a live model shares: when it is due, what it reads, how it is used, saved and resumed."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..align.batch_norm import batch_norms, renew_batch_norm
from ..errors import BadParameter, TooFewSets
from ..evidence.grams import Forward, run_model
from ..weights import Weights
from .clock import Clock
from .model import averaged, bare
from .used import put, put_back, whole


class Track(ABC):
    """An average kept beside a model while it trains.

    `update()` after every optimizer step; `with track.applied(): evaluate()`; `track.value()` is the average as `Weights`. Trainable parameters
    and floating buffers are averaged, in float32 whatever the model's dtype (float64 for float64); everything else is the model's own.

    Args:
        model: is read, and never changed but inside `applied`. Wrappers of DistributedDataParallel and torch.compile are looked through.
        clock: when a point of the run is due.
        device: where the average lives; by default where each parameter does. "cpu" keeps it out of an accelerator's memory.
    """

    def __init__(self, model: nn.Module, clock: Clock | None = None, device: str | torch.device | None = None) -> None:
        self.model = bare(model)
        self.clock = clock or Clock()
        self.device = None if device is None else torch.device(device)
        self.count = 0
        self._applied = False
        self._warned = False

    def update(self, samples: float = 1.0) -> bool:
        """Tell the average that the model has taken a step; whether a point was due and taken.

        Args:
            samples: how many samples the step stands for: the whole batch, over all workers and accumulated gradients. If all counts are
                left at 1, the unit of every length (half-life, start, every) is one step.

        Raises:
            NonFinite: the model holds NaN or Inf; the average and its clock stay as they were.
            NamesDiffer, ShapesDiffer: a tensor that is averaged has left the model or has another shape.
            BadParameter: samples is not positive, or the average is applied right now.
        """
        if self._applied:
            raise BadParameter("update() was called while the average is applied: the model holds the average now, not a point of the run.")
        clock, due = self.clock.after(samples)
        if due:
            self._take(due)
            self.count += 1
        self.clock = clock
        return bool(due)

    @property
    def in_model(self) -> bool:
        """Whether the model holds the average right now, inside `applied`."""
        return self._applied

    @abstractmethod
    def _take(self, samples: float) -> None:
        """Take the model's weights as a point that stands for so many samples; on an error nothing has changed."""

    @abstractmethod
    def _read(self) -> Mapping[str, Tensor]:
        """name -> the average in working precision, in the layout of the tensors that `averaged` gives. Not written into."""

    @contextmanager
    def applied(self, data: Iterable[Any] | None = None, forward: Forward = run_model) -> Iterator[nn.Module]:
        """The model with the average in it, inside a `with`; afterwards it is as it was.

        Tensors change places; nothing is copied where the model's dtype is that of the average (other dtypes are rounded into memory of their own).

        Args:
            data: batches; the statistics of batch normalizations are computed anew over all of them, exactly. Without it they are the
                average's: averages of statistics, which are not the statistics of the average (a warning says so, once).
            forward: (model, batch) -> anything: how the model is run over them.

        Raises:
            TooFewSets: nothing was averaged yet.
            BadParameter: it is applied already; the model was trained inside the `with`.
        """
        if self._applied:
            raise BadParameter("the average is applied already.")
        self._warn_of_statistics(data)
        values, live = self._ready(), averaged(self.model, self._held())
        versions = {name: tensor._version for name, tensor in live.items()}
        self._applied = True
        kept = put(live, values)
        try:
            if data is not None and batch_norms(self.model):
                self._renew(data, forward)
            yield self.model
            if trained := [name for name, tensor in live.items() if isinstance(tensor, nn.Parameter) and tensor._version != versions[name]]:
                raise BadParameter(f"parameter {trained[0]!r} was changed while the average was applied, and the average with it; train outside of it.")
        finally:
            put_back(live, kept)
            self._applied = False

    def value(self, data: Iterable[Any] | None = None, forward: Forward = run_model) -> Weights:
        """The whole model with the average in it, as weights of their own, in the model's dtypes, rounded once.

        Args:
            data, forward: as in `applied`.

        Raises:
            TooFewSets: nothing was averaged yet.
            BadParameter: the model is sharded over processes; use `applied` and the means by which the model itself is saved.
        """
        with self.applied(data, forward) as model:
            return whole(model, f"{type(self).__name__} of {type(model).__name__}")

    def copy_to_model(self) -> None:
        """Set the model to the average: training goes on from there.

        Raises:
            TooFewSets: nothing was averaged yet.
            BadParameter: the average is applied right now: what the model holds then is taken out again.
        """
        if self._applied:
            raise BadParameter("copy_to_model() was called while the average is applied, and would be taken out again; call it outside of the with.")
        live = averaged(self.model, self._held())
        for name, value in self._ready().items():
            if name in live:
                put_back({name: live[name]}, {name: value}, write=True)

    def state_dict(self) -> dict[str, Any]:
        """Everything there is to resume: plain numbers, words and tensors (of the average itself, not copies)."""
        return {"what": self._what(), "clock": self.clock.state(), "count": self.count, **self._state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> Self:
        """Go on from a saved state.

        Raises:
            NamesDiffer, ShapesDiffer: it is the state of another model.
            BadParameter: it is the state of another kind of average.
        """
        if state.get("what") != self._what():
            raise BadParameter(f"the state is that of {state.get('what')}, not of {self._what()}; make the average with the same settings.")
        self._load(state)
        self.clock, self.count = replace(self.clock, **state["clock"]), int(state["count"])
        return self

    @abstractmethod
    def _what(self) -> str:
        """The kind of average and its settings, in words."""

    @abstractmethod
    def _state(self) -> dict[str, Any]:
        """What the average holds."""

    @abstractmethod
    def _load(self, state: Mapping[str, Any]) -> None:
        """Take over what another one held."""

    def _held(self) -> Mapping[str, Tensor]:
        return {}

    def _ready(self) -> Mapping[str, Tensor]:
        if not self.count:
            raise TooFewSets(f"{type(self).__name__} has averaged nothing yet: call update() after a step of training, at the start given or later.")
        return self._read()

    def _renew(self, data: Iterable[Any], forward: Forward) -> None:
        found = renew_batch_norm(self.model, data, forward=forward, progress=False)
        for name, norm in batch_norms(self.model).items():
            for word in ("running_mean", "running_var"):
                buffer: Any = getattr(norm, word)
                buffer.data = found[f"{name}.{word}"].to(buffer.device)

    def _warn_of_statistics(self, data: object) -> None:
        if data is None and not self._warned and batch_norms(self.model):
            self._warned = True
            words = "the statistics of batch normalizations are averages of statistics; pass batches as `data` to compute them anew."
            warnings.warn(words, stacklevel=4)
