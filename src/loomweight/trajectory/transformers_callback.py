"""An average kept by the Trainer of Transformers: counted, evaluated, saved, resumed and left in the model at the end."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from ..errors import BadParameter, MissingExtra
from ..weights import save
from .in_use import Build, Count, InUse, length, over_processes
from .state_file import load_state, save_state
from .track import Track

if TYPE_CHECKING:
    from transformers import TrainerCallback


def transformers_callback(
    build: Build,
    *,
    evaluate: bool = True,
    end: bool = True,
    samples: Count = length,
    data: Iterable[Any] | None = None,
    resume_from: str | Path | None = None,
    name: str = "average",
) -> "TrainerCallback":
    """A `TrainerCallback` that keeps an average of the model that is trained; its `average` is the `Track`.

    One update per optimizer step, which stands for the samples that the step has used: those of all accumulated batches and all processes,
    counted as they pass through the model, so that a smaller last batch counts as what it is. (Processes that share a batch, as in tensor
    parallelism, are counted each.)

    Every checkpoint gets two things beside the model itself: `average/`, the model with the average in it, for `from_pretrained`, and
    `average_state.safetensors`, from which a resumed run goes on to the bit. (An adapter of PEFT lies in `average/adapter/`: what lies one level
    higher the Trainer would load as a further adapter.) With `load_best_model_at_end` the model at the end is the
    average as it was at the best checkpoint.

    SWAD is told every `eval_loss` and needs `evaluate=False`; training stops when its valley is over.

    Args:
        build: model -> an average of it, called when training begins; lengths are in samples.
        evaluate: evaluate, and so choose the best checkpoint, with the average in the model.
        end: leave the average in the model when training ends, for `trainer.save_model()` and what follows.
        samples: (inputs of the model) -> how many samples they are; count tokens instead with `lambda inputs: inputs["input_ids"].numel()`.
        data: batches for the statistics of batch normalizations, see `Track.applied`.
        resume_from: the checkpoint that is resumed, if it is neither `args.resume_from_checkpoint` nor in the output folder.
        name: how folder and file begin in a checkpoint. A run may have several averages, each with its name, of which one is
            evaluated and stays; the others need `evaluate=False, end=False`.

    Raises:
        MissingExtra: Transformers is not installed.

    >>> from loomweight.trajectory import EMA
    >>> callback = transformers_callback(lambda model: EMA(model, half_life=20_000))
    >>> callback.average is None  # until training begins
    True
    """
    try:
        from transformers import TrainerCallback
    except ImportError as error:
        raise MissingExtra("the callback for Transformers needs transformers: pip install 'loomweight[hf]'.") from error

    class AverageCallback(_Follower, TrainerCallback):
        """Keeps an average along the run."""

    return AverageCallback(build, evaluate=evaluate, end=end, samples=samples, data=data, files=_Files(name, resume_from))


class _Follower:
    """What happens at each event of the Trainer."""

    def __init__(self, build: Build, *, evaluate: bool, end: bool, samples: Count, data: Iterable[Any] | None, files: "_Files") -> None:
        self.build, self.evaluate, self.end, self.samples, self.data, self.files = build, evaluate, end, samples, data, files
        self.average: Track | None = None
        self._run: Any = None
        self._hooks: list[Any] = []
        self._batch: dict[torch.device, float] = {}
        self._seen = 0.0
        self._stepping = False

    def on_train_begin(self, args: Any, state: Any, control: Any, model: nn.Module, **rest: Any) -> None:
        self._remove_hooks()
        self._run = state
        self.average = self.build(model)
        self._use = InUse(self.average, self.data)
        self._use.check(self.evaluate)
        self._batch, self._seen, self._stepping = {}, 0.0, False
        if state.global_step:
            load_state(self.average, self.files.resumed(args, state))
        self._add_hooks(self.average.model, args.torch_compile)

    def on_step_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self._use.leave()
        self._batch, self._seen, self._stepping = {}, 0.0, True

    def on_substep_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self._next_batch()

    def on_step_end(self, args: Any, state: Any, control: Any, optimizer: Any = None, **rest: Any) -> None:
        self._next_batch()
        self._stepping = False
        if self.average is not None and not getattr(optimizer, "step_was_skipped", False):
            self._use.update(over_processes(self._seen, args.device))

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Mapping[str, float], **rest: Any) -> None:
        self.on_predict(args, state, control)
        if self._hooks and self._use.validated(metrics, "eval_loss"):
            control.should_training_stop = True

    def on_predict(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if self.average is not None:
            self._use.leave()

    def on_save(self, args: Any, state: Any, control: Any, model: nn.Module, processing_class: Any = None, **rest: Any) -> None:
        if self.average is None or not args.should_save:
            return
        self._use.leave()
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if not folder.is_dir():
            raise BadParameter(f"{folder}: no such checkpoint; a search over hyperparameters, which saves elsewhere, cannot keep an average.")
        save_state(self.average, folder / self.files.state, overwrite=True)
        if self.average.ready:
            self._save_model(model, processing_class, folder / self.files.name)

    def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self._remove_hooks()
        self._use.leave()
        if not self.end or self.average is None:
            return
        if args.load_best_model_at_end and state.best_model_checkpoint is not None:
            load_state(self.average, Path(state.best_model_checkpoint) / self.files.state)
        self._use.stay()

    def _save_model(self, model: nn.Module, processing_class: Any, folder: Path) -> None:
        """By the model's own means, which know its names and its config."""
        own = getattr(model, "save_pretrained", None)
        if own is None:
            save(self._use.track.value(self.data), folder, overwrite=True)
            return
        if hasattr(model, "peft_config"):
            folder = folder / "adapter"
        with self._use.track.applied(self.data):
            own(folder)
        if processing_class is not None:
            processing_class.save_pretrained(folder)

    def _next_batch(self) -> None:
        self._seen += sum(self._batch.values())
        self._batch = {}

    def _add_hooks(self, model: nn.Module, compiled: bool) -> None:
        for other in _followers(model):
            if other._run is not self._run:
                other._remove_hooks()  # of a run that was broken off
            elif (self.evaluate or self.end) and (other.evaluate or other.end):
                raise BadParameter("only one average at a time can be in the model; give all but one evaluate=False, end=False.")
        hook: Any = torch.compiler.disable(self._before_forward) if compiled else self._before_forward
        self._hooks = [
            model.register_forward_pre_hook(hook, with_kwargs=True),
            model.register_state_dict_pre_hook(lambda module, prefix, keep_vars: self._before_state_dict()),
        ]

    def _remove_hooks(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def _before_forward(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """A batch counts once on each device, whatever a loss does with it; of an evaluation the first batch puts the average in."""
        if not module.training:
            if self.evaluate and not self._stepping:
                self._use.enter()
            return
        self._use.leave()
        inputs = kwargs or args
        self._batch.setdefault(_device(inputs), self.samples(inputs))

    def _before_state_dict(self) -> None:
        """The weights that the Trainer saves are those that are trained."""
        self._use.leave()


def _followers(model: nn.Module) -> Iterator[_Follower]:
    for hook in model._forward_pre_hooks.values():
        owner = getattr(hook, "__self__", getattr(getattr(hook, "__wrapped__", None), "__self__", None))
        if isinstance(owner, _Follower):
            yield owner


def _device(inputs: Any) -> torch.device:
    """Where the inputs lie: DataParallel hands parts of a batch to several devices."""
    return next((leaf.device for leaf in tree_leaves(inputs) if isinstance(leaf, torch.Tensor)), torch.device("cpu"))


@dataclass(frozen=True)
class _Files:
    """What a checkpoint gets, and where the one that is resumed lies."""

    name: str
    resume_from: str | Path | None

    @property
    def state(self) -> str:
        return f"{self.name}_state.safetensors"

    def resumed(self, args: Any, state: Any) -> Path:
        """The state beside the checkpoint that is resumed, known by its step and its log."""
        own = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        asked = args.resume_from_checkpoint if isinstance(args.resume_from_checkpoint, str) else None
        places = [Path(place) for place in (self.resume_from, asked, own) if place]
        for place in places:
            if (place / self.state).is_file() and _is_of(place / "trainer_state.json", state):
                return place / self.state
        raise BadParameter(
            f"the run goes on from step {state.global_step}, but no checkpoint of it with an average ({self.state}) is in "
            f"{', '.join(map(str, places))}; name it: transformers_callback(..., resume_from=PATH)."
        )


def _is_of(path: Path, state: Any) -> bool:
    if not path.is_file():
        return False
    found = type(state).load_from_json(str(path))
    return found.global_step == state.global_step and json.dumps(found.log_history) == json.dumps(state.log_history)
