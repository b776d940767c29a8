"""The folder of a run: what it was told, and where it has got to."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ...errors import BadParameter, BrokenFile, OutputError
from ...weights.plain_state import load_plain_state, save_plain_state

_SETTINGS, _STATE, _KEY = "supernet.json", "training.safetensors", "supernet"
#: what a search leaves; it is of the weights that were there
_OF_SEARCH = ("search.jsonl", "search.json", "front.json")


@dataclass(frozen=True)
class Settings:
    """What a training was told; the same words train the same.

    Args:
        model: `module:factory`, or a Transformers config.
        example: `module:function` that gives inputs to trace on, or None.
        space: the table of what may vary, as text.
        data: `module:function` that gives the batches of an epoch.
        epochs: how often the data is gone through.
        step: sandwich or single.
        sampler: uniform, by_operator or stratified.
        soft: labels, alpha or none: how subnets learn from the largest, in a sandwich.
        optimizer: adamw or sgd.
        rate: the learning rate at first.
        schedule: cosine or constant.
        decay: weight decay.
        seed: of the weights, the subnets and torch's random numbers.
    """

    model: str
    example: str | None
    space: str
    data: str
    epochs: int = 10
    step: str = "sandwich"
    sampler: str = "uniform"
    soft: str = "labels"
    optimizer: str = "adamw"
    rate: float = 1e-3
    schedule: str = "cosine"
    decay: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        allowed = {
            "step": ("sandwich", "single"),
            "sampler": ("uniform", "by_operator", "stratified"),
            "soft": ("labels", "alpha", "none"),
            "optimizer": ("adamw", "sgd"),
            "schedule": ("cosine", "constant"),
        }
        for name, words in allowed.items():
            if getattr(self, name) not in words:
                raise BadParameter(f"--{name} is {' or '.join(words)}, found {getattr(self, name)!r}.")
        if self.epochs < 1 or not self.rate > 0 or self.decay < 0:
            raise BadParameter(f"epochs are at least 1, the rate is above 0 and the decay at least 0; found {self.epochs}, {self.rate} and {self.decay}.")
        if self.step == "single" and self.soft != "labels":
            raise BadParameter(f"--soft {self.soft} has no effect with --step single, which trains on the targets alone; leave it out.")


@dataclass(frozen=True)
class RunFolder:
    """A folder with the settings and the state of one training.

    Raises:
        BrokenFile: a file in it cannot be understood.
    """

    path: Path

    @property
    def exists(self) -> bool:
        """Whether a training has begun here."""
        return (self.path / _SETTINGS).exists()

    def settings(self) -> Settings:
        """What the training was told.

        Raises:
            BadParameter: no training has begun here.
        """
        file = self.path / _SETTINGS
        if not file.exists():
            raise BadParameter(f"{self.path} holds no supernet: there is no {_SETTINGS}; `loomweight supernet train {self.path} ...` makes one.")
        try:
            told = json.loads(file.read_text("utf-8"))
            return Settings(**{key: told[key] for key in (field.name for field in fields(Settings)) if key in told})
        except (ValueError, TypeError) as error:
            raise BrokenFile(f"{file} is damaged: {error}; begin the training anew in another folder.") from error

    def begin(self, settings: Settings, *, resume: bool, overwrite: bool) -> None:
        """Write the settings, or check that they are those of the run that goes on.

        Raises:
            OutputError: a run is there and neither `resume` nor `overwrite` was said; the folder cannot be made.
            BadParameter: the run that is there was told something else.
        """
        if self.exists and resume:
            before = asdict(self.settings())
            changed = [f"{key} was {before[key]!r}, is {value!r}" for key, value in asdict(settings).items() if before[key] != value]
            if changed:
                raise BadParameter(f"{self.path} holds another run: {'; '.join(changed)}. Give the same words, or another folder.")
            return
        if self.exists and not overwrite:
            raise OutputError(f"{self.path} holds a run already; --resume goes on with it, --overwrite begins anew.")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for file in (_STATE, *_OF_SEARCH):
                (self.path / file).unlink(missing_ok=True)
            fresh = self.path / f"{_SETTINGS}.part"
            fresh.write_text(json.dumps(asdict(settings), indent=2) + "\n", "utf-8")
            fresh.replace(self.path / _SETTINGS)
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror or error}.") from error

    def state(self) -> Any:
        """The state that was saved last, or None."""
        file = self.path / _STATE
        return load_plain_state(file, _KEY) if file.exists() else None

    def digest(self) -> str:
        """SHA-256 of the state that was saved last."""
        with (self.path / _STATE).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def save(self, state: Mapping[str, Any]) -> None:
        """Save a state, whole or not at all."""
        save_plain_state(state, self.path / _STATE, _KEY, overwrite=True)
