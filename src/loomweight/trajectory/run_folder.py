"""The checkpoints that a training run has left in a folder, in the order of the run."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path
from typing import Self

from ..errors import BadParameter, BrokenFile, TooFewSets, UnknownName
from ..weights import Weights, load
from ..weights.adapter_config import NAME as ADAPTER
from ..weights.folder import SAFETENSORS, TORCH
from ..weights.locate import locate
from ..weights.names import listed
from ..weights.order import natural
from .snapshots import PATTERN

SNAPSHOTS = "snapshots of PostHocEMA"
FOLDERS = "checkpoint folders"
_FILES = {".safetensors": "safetensors files", ".ckpt": "Lightning checkpoints"}
_STEP = re.compile(r"(?:step|iter|iteration|checkpoint|ckpt)s?[=_-]?(\d+)", re.IGNORECASE)
_EPOCH = re.compile(r"epoch[=_-]?(\d+)", re.IGNORECASE)
_WHOLE = re.compile(r"(?<!\d)(?<!\d\.)\d+(?!\.?\d)")
_SHARD = re.compile(r".+-\d{5}-of-\d{5}\.[a-z]+")
_SURE = re.compile(r"(checkpoint|ckpt|step|global_?step|epoch|iter)[=_-]?\d+", re.IGNORECASE)


@dataclass(frozen=True)
class Checkpoint:
    """A file, or a folder, with the model as it was at a step of the run."""

    step: int
    path: Path

    def load(self) -> Weights:
        """Its weights, called as the file is.

        Raises:
            BrokenFile: it is damaged, or a file of it is missing.
            BadParameter: it is an adapter, whose factors have no average that is the average of adapters.
        """
        if (self.path / ADAPTER).exists():
            advice = "average adapters with a recipe, `merge_method: linear` over BASE+ADAPTER for each"
            raise BadParameter(f"{self.path} holds an adapter: the mean of its factors is not the mean of what they do; {advice}.")
        return load(self.path, label=self.path.name)


@dataclass(frozen=True)
class RunFolder:
    """The checkpoints of one run: all of one kind, sorted by their numbers.

    Folders that `Trainer` of Transformers writes (`checkpoint-500`), files of Lightning (`epoch=3-step=500.ckpt`), and numbered safetensors or torch
    files are known. The number that counts is that of the step, else that of the epoch, else the last whole number of the name.

    Args:
        path: the folder.
        kind: of the checkpoints, in words.
        checkpoints: rising steps.
        left: what lies there besides, and is left alone.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for step in (1000, 500):
    ...         path = lw.save({"w": torch.full((2,), float(step))}, f"{folder}/checkpoint-{step}")
    ...     [checkpoint.step for checkpoint in RunFolder.of(folder).checkpoints]
    [500, 1000]
    """

    path: Path
    kind: str
    checkpoints: tuple[Checkpoint, ...]
    left: tuple[str, ...] = ()

    @classmethod
    def of(cls, folder: str | Path, only: str | None = None) -> Self:
        """Look into a folder; names alone are read.

        Args:
            folder: of the run.
            only: take nothing but what is called so, such as "model-*".

        Raises:
            UnknownName: there is no such folder, or nothing in it is called as `only` says.
            TooFewSets: it holds no checkpoints.
            BrokenFile: it holds checkpoints of several kinds, or two of one step.
        """
        path = locate(str(folder))
        if not path.is_dir():
            raise BadParameter(f"{folder} is a file, not the folder of a run.")
        names = natural(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
        chosen = [name for name in names if only is None or fnmatch(name, only)]
        if only is not None and not chosen:
            raise UnknownName(f"nothing in {folder} is called {only!r}; it holds {listed(names) or 'nothing'}.")
        kinds: dict[tuple[str, str], list[str]] = {}
        for name in chosen:
            if kind := _kind(path / name):
                kinds.setdefault((kind, SNAPSHOTS if kind == SNAPSHOTS else re.sub(r"\d+", "#", name)), []).append(name)
        if not kinds:
            raise TooFewSets(_nothing(path, names))
        if len(kinds) > 1:
            told = "; ".join(f"{len(group)} {kind} such as {group[0]}" for (kind, _), group in kinds.items())
            raise BrokenFile(
                f"{folder} holds checkpoints of several kinds: {told}. Say which are meant, as in --only '{_pattern(next(iter(kinds.values())))}'."
            )
        [((kind, _), group)] = kinds.items()
        left = tuple(name for name in names if name not in group)
        if kind == SNAPSHOTS:
            return cls(path, kind, (), left)
        found = sorted((Checkpoint(step, path / name) for name in group if (step := step_of(name)) is not None), key=lambda checkpoint: checkpoint.step)
        for one, other in pairwise(found):
            if one.step == other.step:
                raise BrokenFile(f"{folder} holds two checkpoints of step {one.step}, {one.path.name} and {other.path.name}; keep one of them there.")
        return cls(path, kind, tuple(found), left)

    def latest(self, count: int | None = None, every: int = 1) -> tuple[Checkpoint, ...]:
        """The last `count` of every so-many-th checkpoint, counted back from the last one; None takes all of them.

        Raises:
            BadParameter: a number below 1, or more than there are.
        """
        there = len(self.checkpoints)
        if every < 1 or every > there:
            raise BadParameter(f"every N-th checkpoint: N must be from 1 to {there}, the number of checkpoints in {self.path}; found {every}.")
        taken = self.checkpoints[::-1][::every][::-1]
        if count is not None and not 1 <= count <= len(taken):
            holds = f"{self.path} holds {there} checkpoints"
            which = holds if every == 1 else f"{holds}, and one in every {every} makes {len(taken)}"
            raise BadParameter(f"the last {count} cannot be averaged: {which}; give a number from 1 to {len(taken)}.")
        return taken if count is None else taken[-count:]


def step_of(name: str) -> int | None:
    """The number by which a checkpoint of that name is sorted, or None.

    >>> step_of("checkpoint-500"), step_of("epoch=3-step=400-v1.ckpt"), step_of("epoch=7-val_loss=0.25.ckpt"), step_of("last.ckpt")
    (500, 400, 7, None)
    """
    stem = re.sub(r"\.(safetensors|ckpt|bin|pth?)$", "", name)
    found = _STEP.search(stem) or _EPOCH.search(stem)
    numbers = [found[1]] if found else _WHOLE.findall(stem)
    return int(numbers[-1]) if numbers else None


def _kind(path: Path) -> str | None:
    if path.is_dir():
        holds = _SURE.fullmatch(path.name) or any(file.name.endswith(SAFETENSORS + TORCH) for file in path.iterdir())
        return FOLDERS if holds and step_of(path.name) is not None else None
    if fnmatch(path.name, PATTERN):
        return SNAPSHOTS
    if path.suffix not in SAFETENSORS + TORCH or _SHARD.fullmatch(path.name) or step_of(path.name) is None:
        return None
    return _FILES.get(path.suffix, "torch files")


def _pattern(group: list[str]) -> str:
    return re.sub(r"\d+.*", "*", group[0]) if re.match(r"\D", group[0]) else f"*{Path(group[0]).suffix}"


def _nothing(path: Path, names: list[str]) -> str:
    below = [name for name in names if (path / name).is_dir() and any(_below(path / name))]
    hint = f"; {listed(below)} below it holds some: name that folder" if below else ""
    return f"{path} holds no checkpoints of a run, which have a step number in their names; it holds {listed(names) or 'nothing'}{hint}."


def _below(folder: Path) -> Iterator[bool]:
    return (True for entry in folder.iterdir() if not entry.name.startswith(".") and _kind(entry))
