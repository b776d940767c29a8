"""An average kept by the Trainer of Lightning: counted, evaluated, saved, resumed and left in the module at the end."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..errors import BadParameter, MissingExtra
from .in_use import Build, Count, InUse, length, over_processes
from .track import Track

if TYPE_CHECKING:
    from lightning.pytorch import Callback

_ENDS = ("average", "best", "last")
_TRAINED = "trained_state_dict"


def lightning_callback(
    build: Build,
    *,
    evaluate: bool = True,
    end: str = "average",
    samples: Count = length,
    data: Iterable[Any] | None = None,
    name: str = "average",
    monitor: str = "val_loss",
) -> "Callback":
    """A Lightning `Callback` that keeps an average of the module that is trained; its `average` is the `Track`.

    One update after every batch that took an optimizer step, in automatic and in manual optimization; it stands for the samples since the
    update before, of all accumulated batches and all processes.

    Every checkpoint holds the average beside the module. What is evaluated is what its `state_dict` holds, so that `load_from_checkpoint`
    and `trainer.test(ckpt_path="best")` give the average that earned the score; the weights that are trained lie under
    `trained_state_dict`, and `trainer.fit(ckpt_path=...)` with this callback goes on from them to the bit. All of it opens with
    `torch.load(weights_only=True)`.

    Args:
        build: module -> an average of it, called when training begins; lengths are in samples.
        evaluate: validate with the average in the module, and save it as the `state_dict`.
        end: what the module holds when `fit` is over: "average", what the "best" checkpoint of the trainer holds, or the "last" weights.
        samples: batch -> how many samples it holds; count tokens instead with `lambda batch: batch["input_ids"].numel()`.
        data: batches for the statistics of batch normalizations, see `Track.applied`.
        name: of the callback in checkpoints. A run may have several averages, each with its name, of which one is evaluated and stays;
            the others need `evaluate=False, end="last"`.
        monitor: the logged validation loss that SWAD is told; SWAD needs `evaluate=False`, and training stops when its valley is over.

    Raises:
        MissingExtra: Lightning is not installed.
        BadParameter: `end` is none of the three words.

    >>> from loomweight.trajectory import EMA
    >>> callback = lightning_callback(lambda module: EMA(module, half_life=20_000))
    >>> callback.average is None  # until training begins
    True
    """
    if end not in _ENDS:
        raise BadParameter(f"end is 'average', 'best' or 'last', found {end!r}.")
    try:
        from lightning.pytorch import Callback
    except ImportError as error:
        raise MissingExtra("the callback for Lightning needs lightning: pip install 'loomweight[lightning]'.") from error

    class AverageCallback(_Follower, Callback):
        """Keeps an average along the run."""

    return AverageCallback(build, evaluate, end, samples, data, (name, monitor))


class _Follower:
    """What happens at each event of the Trainer."""

    def __init__(self, build: Build, evaluate: bool, end: str, samples: Count, data: Iterable[Any] | None, words: tuple[str, str]) -> None:
        self.build, self.evaluate, self.end, self.samples, self.data = build, evaluate, end, samples, data
        self.name, self.monitor = words
        self.average: Track | None = None
        self._use: InUse | None = None
        self._saved: dict[str, Any] | None = None
        self._seen, self._step = 0.0, 0

    @property
    def state_key(self) -> str:
        return f"loomweight.trajectory.{self.name}"

    def setup(self, trainer: Any, pl_module: nn.Module, stage: str) -> None:
        if stage == "fit":
            self.average = self._use = self._saved = None

    def on_train_start(self, trainer: Any, pl_module: nn.Module) -> None:
        self._check(trainer)
        self.average = self.build(pl_module)
        self._use = InUse(self.average, self.data)
        self._use.check(self.evaluate)
        self._seen, self._step = 0.0, trainer.global_step
        if self._saved is not None:
            self.average.load_state_dict(self._saved["average"])
            self._seen = self._saved["samples"]

    def on_train_batch_end(self, trainer: Any, pl_module: nn.Module, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._seen += self.samples(batch)
        if self._use is not None and trainer.global_step > self._step:
            self._use.update(over_processes(self._seen, trainer.strategy.root_device))
            self._seen, self._step = 0.0, trainer.global_step

    def on_validation_start(self, trainer: Any, pl_module: nn.Module) -> None:
        if self._use is not None and self.evaluate:
            self._use.enter()

    def on_validation_end(self, trainer: Any, pl_module: nn.Module) -> None:
        if self._use is not None:
            self._use.leave()
            if self._use.validated(trainer.callback_metrics, self.monitor):
                trainer.should_stop = True

    def on_exception(self, trainer: Any, pl_module: nn.Module, exception: BaseException) -> None:
        if self._use is not None:
            self._use.leave()

    def on_fit_end(self, trainer: Any, pl_module: nn.Module) -> None:
        if self._use is None:
            return
        if self.end == "best":
            pl_module.load_state_dict(_best(trainer)["state_dict"])
        elif self.end == "average":
            self._use.stay()
        self._use = None

    def state_dict(self) -> dict[str, Any]:
        if self.average is None:
            return self._saved or {}
        return {"average": self.average.state_dict(), "samples": self._seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._saved = state_dict

    def on_save_checkpoint(self, trainer: Any, pl_module: nn.Module, checkpoint: dict[str, Any]) -> None:
        if self._use is None or not self.evaluate or not self._use.track.ready:
            return
        checkpoint[_TRAINED] = checkpoint["state_dict"]
        with self._use.track.applied(self.data):
            checkpoint["state_dict"] = dict(pl_module.state_dict())

    def on_load_checkpoint(self, trainer: Any, pl_module: nn.Module, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn == "fit" and _TRAINED in checkpoint:
            pl_module.load_state_dict(checkpoint[_TRAINED])

    def _check(self, trainer: Any) -> None:
        if self.evaluate and any(getattr(saver, "save_weights_only", False) for saver in trainer.checkpoint_callbacks):
            raise BadParameter("save_weights_only=True asks no callback, so the checkpoints would lack the average; leave it out, or set evaluate=False.")
        if sum(isinstance(other, _Follower) and (other.evaluate or other.end != "last") for other in trainer.callbacks) > 1:
            raise BadParameter("only one average at a time can be in the model; give all but one evaluate=False, end='last'.")


def _best(trainer: Any) -> dict[str, Any]:
    saver = trainer.checkpoint_callback
    if saver is None or not saver.best_model_path:
        raise BadParameter("end='best' needs a ModelCheckpoint that has saved something; give the trainer one, or choose end='average'.")
    return torch.load(saver.best_model_path, map_location="cpu", weights_only=True)
