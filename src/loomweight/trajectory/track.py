"""What every average of a live model shares: when it is due, what it reads, how it is used, saved and resumed."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self, SupportsFloat
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..align.batch_norm import batch_norms, renew_batch_norm
from ..errors import BadParameter, TooFewSets
from ..evidence.grams import Forward, run_model
from ..weights import Weights
from .clock import Clock
from .model import bare, followed, reshard
from .undisturbed import undisturbed
from .used import put, put_back, whole

#: models that hold averages right now, and how many, one within another
_HOLDING: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()


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

    def update(self, samples: SupportsFloat = 1.0) -> bool:
        """Tell the average that the model has taken a step; whether a point was due and taken.

        Args:
            samples: how many samples the step stands for: the whole batch, over all workers and accumulated gradients. If all counts are
                left at 1, the unit of every length (half-life, start, every) is one step.

        Raises:
            NonFinite: the model holds NaN or Inf; the average and its clock stay as they were.
            NamesDiffer, ShapesDiffer: a tensor that is averaged has left the model or has another shape.
            BadParameter: samples is not positive, or the average is applied right now.
        """
        if _HOLDING.get(self.model):
            raise BadParameter("update() was called while an average is applied: the model holds the average now, not a point of the run.")
        clock, due = self.clock.after(samples)
        with undisturbed():
            if due:
                with torch.inference_mode(False):
                    self._take(due)
                self.count += 1
            self.clock = clock
        return bool(due)

    @property
    def ready(self) -> bool:
        """Whether there is an average to apply."""
        return self.count > 0

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

        Tensors change places, so what is written into `.data` of a parameter meanwhile is written into the average. Nothing but buffers is copied
        where the model's dtype is that of the average (other dtypes are rounded into memory of their own). What is not averaged, such as integer
        buffers, is the model's own, and a forward in training mode moves it. A model of FSDP2 runs as always, and is written in place.

        Args:
            data: batches; the statistics of batch normalizations are computed anew over all of them, exactly. Without it they are the
                average's: averages of statistics, which are not the statistics of the average (a warning says so, once).
            forward: (model, batch) -> anything: how the model is run over them.

        Raises:
            TooFewSets: nothing was averaged yet.
            NamesDiffer, ShapesDiffer: a tensor that is averaged has left the model or has another shape.
            BadParameter: it is applied already; the model was trained inside the `with`.
        """
        self._refuse_applied("the average is applied already.")
        values, live = self._ready(), followed(self.model, self._held())
        self._warn_of_statistics(data)
        buffers = {name: tensor.clone() for name, tensor in live.items() if name not in values and not isinstance(tensor, nn.Parameter)}
        parameters = {name: tensor for name, tensor in live.items() if isinstance(tensor, nn.Parameter)}
        kept: dict[str, Tensor] = {}
        self._applied = True
        _HOLDING[self.model] = _HOLDING.get(self.model, 0) + 1
        try:
            with torch.inference_mode(False):
                put(live, {**buffers, **values}, kept)
                if data is not None and batch_norms(self.model):
                    self._renew(data, forward)
            versions = {name: tensor._version for name, tensor in parameters.items()}
            yield self.model
            if trained := [name for name, tensor in parameters.items() if tensor._version != versions[name]]:
                raise BadParameter(f"parameter {trained[0]!r} was changed while the average was applied, and the average with it; train outside of it.")
        finally:
            with torch.inference_mode(False):
                put_back(live, kept)
                reshard(self.model)
            self._applied = False
            _HOLDING[self.model] -= 1

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
            NamesDiffer, ShapesDiffer: a tensor that is averaged has left the model or has another shape.
            BadParameter: the average is applied right now, and would be taken out again.
        """
        self._refuse_applied("copy_to_model() was called while the average is applied, which is taken out again at the end; call it outside.")
        values, live = self._ready(), followed(self.model, self._held())
        put_back(live, {name: value for name, value in values.items() if name in live}, write=True)

    def state_dict(self) -> dict[str, Any]:
        """Everything there is to resume: plain numbers, words and tensors (of the average itself, not copies).

        Of a model of FSDP2 each process has its shards: save them with `torch.distributed.checkpoint`, or a file for each rank.
        """
        return {"what": self._what(), "clock": self.clock.state(), "count": self.count, **self._state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> Self:
        """Go on from a saved state.

        Raises:
            NamesDiffer, ShapesDiffer: it is the state of another model.
            BadParameter: it is the state of another kind of average, or of one with other settings.
        """
        self._refuse_applied("load_state_dict() was called while the average is applied; call it outside.")
        if lacking := {"what", "clock", "count"} - set(state):
            raise BadParameter(f"this is no state of an average: it lacks {', '.join(sorted(lacking))}.")
        if state.get("what") != self._what():
            raise BadParameter(f"the state is that of {state.get('what')}, not of {self._what()}; make the average with the same settings.")
        clock = replace(self.clock, **state["clock"])
        if (clock.start, clock.every) != (self.clock.start, self.clock.every):
            found, here = (f"start={each.start:g}, every={each.every:g}" for each in (clock, self.clock))
            raise BadParameter(f"the state is that of an average with {found}, not with {here}; make the average with the same settings.")
        self._load(state)
        self.clock, self.count = clock, int(state["count"])
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._what()} of {type(self.model).__name__}, {self.count} points in {self.clock.run:g} samples)"

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
        self._refuse_empty()
        return self._read()

    def _refuse_empty(self) -> None:
        if not self.count:
            raise TooFewSets(f"{type(self).__name__} has averaged nothing yet: call update() after a step of training, at the start given or later.")

    def _renew(self, data: Iterable[Any], forward: Forward) -> None:
        """In place: buffers hold copies now."""
        found = renew_batch_norm(self.model, data, forward=forward, progress=False)
        for name, norm in batch_norms(self.model).items():
            for word in ("running_mean", "running_var"):
                getattr(norm, word).copy_(found[f"{name}.{word}" if name else word])

    def _refuse_applied(self, words: str) -> None:
        if self._applied:
            raise BadParameter(words)

    def _warn_of_statistics(self, data: object) -> None:
        if data is None and not self._warned and batch_norms(self.model):
            self._warned = True
            words = "the statistics of batch normalizations are averages of statistics; pass batches as `data` to compute them anew."
            warnings.warn(words, stacklevel=4)
