"""The averages that can be made after a run, out of what it has left in a folder.

The mean of the last checkpoints is that of Averaging Weights Leads to Wider Optima and Better Generalization (2018,
https://arxiv.org/abs/1803.05407) and Stop Wasting My Time! Saving Days of ImageNet and BERT Training with Latest Weight Averaging (2022,
https://arxiv.org/abs/2209.14981); the snapshots are those of Analyzing and Improving the Training Dynamics of Diffusion Models (2023,
https://arxiv.org/abs/2312.02696).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf, isfinite
from pathlib import Path

import torch

from ..errors import BadParameter
from ..weights import Weights, load
from .exponential import Exponential
from .mixture import mixture
from .moment import shares
from .reconstruct import Synthesis
from .run_folder import SNAPSHOTS, Checkpoint, RunFolder
from .snapshots import Snapshots

_LADDER = (1, 2, 5)


@dataclass(frozen=True)
class Choice:
    """Which averages are wanted: of checkpoints the last k, every N-th, or a fading mean; of snapshots some lengths.

    Args:
        last: how many checkpoints; none means all of them.
        every: take every N-th checkpoint only, counted back from the last.
        half_lives: in checkpoints: how fast older ones fade.
        lengths: of averages out of snapshots; see `Power.of_length`.
        at: samples of the run until which an average out of snapshots goes; by default all.
        dtype: of the result's floating tensors; by default that of what is averaged.
    """

    last: tuple[int, ...] = ()
    every: int | None = None
    half_lives: tuple[float, ...] = ()
    lengths: tuple[float, ...] = ()
    at: float | None = None
    dtype: torch.dtype | None = None

    @property
    def along(self) -> str:
        """What the averages differ in."""
        return "length" if self.lengths else "half-life in checkpoints" if self.half_lives else "checkpoints averaged"


@dataclass(frozen=True)
class Candidate:
    """One average that can be made.

    Args:
        place: how many checkpoints, the half-life, or the length.
        words: what it is.
        used: what it is made of -> its coefficient.
        weights: the average, lazy.
        synthesis: of snapshots: how close it comes.
    """

    place: float
    words: str
    used: dict[Path, float] = field(repr=False)
    weights: Weights = field(repr=False)
    synthesis: Synthesis | None = None


def candidates(run: RunFolder, choice: Choice) -> list[Candidate]:
    """One average for each number that was chosen; headers are read, no data.

    Raises:
        BadParameter: the choice is not one for what the folder holds, or a number is out of range.
        NamesDiffer, ShapesDiffer, DtypesDiffer: a checkpoint is of another model.
        BrokenFile: one is damaged, or a file of it is missing.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for step in (1, 2, 3):
    ...         path = lw.save({"w": torch.tensor([2.0**step])}, f"{folder}/checkpoint-{step}")
    ...     [(found.words, found.weights["w"].item()) for found in candidates(RunFolder.of(folder), Choice(last=(1, 2)))]
    [('the last checkpoint', 8.0), ('the mean of the last 2 checkpoints', 6.0)]
    """
    if run.kind == SNAPSHOTS:
        return _of_snapshots(run, choice)
    if choice.lengths:
        raise BadParameter(f"{run.path} holds {run.kind}, and a length is one of averages out of {SNAPSHOTS}; choose with --last, --every or --ema.")
    if not (choice.last or choice.every is not None or choice.half_lives):
        raise BadParameter(f"{run.path} holds {len(run.checkpoints)} {run.kind}; say which to average: --last K, --every N or --ema HALF_LIFE.")
    every = 1 if choice.every is None else choice.every
    counts = choice.last or (len(run.latest(None, every)),)
    if choice.half_lives and len(counts) > 1:
        raise BadParameter("several numbers for --last and a half-life cannot go together; give one --last.")
    chosen = [run.latest(count, every) for count in counts]
    opened = {checkpoint: checkpoint.load() for checkpoint in max(chosen, key=len)}
    if choice.half_lives:
        return [_mean(chosen[0], opened, choice, half_life) for half_life in choice.half_lives]
    return [_mean(part, opened, choice) for part in chosen]


def ladder(choice: Choice, run: RunFolder) -> Choice:
    """The same choice with shorter averages besides, for a curve: 1, 2, 5, 10, ... checkpoints up to the number that was chosen.

    >>> ladder(Choice(last=(20,)), RunFolder(Path("run"), "torch files", ())).last
    (1, 2, 5, 10, 20)
    """
    if len(choice.last) > 1 or choice.lengths or choice.half_lives:
        return choice
    most = choice.last[0] if choice.last else len(run.latest(None, choice.every or 1))
    steps = (step * 10**power for power in range(len(str(abs(most)))) for step in _LADDER)
    return Choice((*(step for step in steps if step < most), most), choice.every, dtype=choice.dtype)


def best(losses: Sequence[float]) -> int:
    """Which loss is the least; NaN is never.

    Raises:
        BadParameter: none is finite.

    >>> best([float("nan"), 0.5, 0.25])
    2
    """
    if not any(map(isfinite, losses)):
        raise BadParameter(f"no average has a finite loss: {', '.join(f'{loss:g}' for loss in losses)}.")
    return min(range(len(losses)), key=lambda i: losses[i] if isfinite(losses[i]) else inf)


def _mean(chosen: Sequence[Checkpoint], opened: dict[Checkpoint, Weights], choice: Choice, half_life: float | None = None) -> Candidate:
    n = len(chosen)
    weights = [1 / n] * n if half_life is None else shares(Exponential(half_life), range(n + 1)).tolist()
    each = "" if choice.every in (None, 1) else f", one in every {choice.every}"
    faded = "" if half_life is None else f", older ones fading by half every {half_life:g}"
    words = "the last checkpoint" if n == 1 else f"the mean of the last {n} checkpoints{each}{faded}"
    made = mixture([opened[checkpoint] for checkpoint in chosen], weights, choice.dtype)
    used = {checkpoint.path: weight for checkpoint, weight in zip(chosen, weights, strict=True)}
    return Candidate(n if half_life is None else half_life, words, used, made)


def _of_snapshots(run: RunFolder, choice: Choice) -> list[Candidate]:
    if choice.last or choice.every is not None or choice.half_lives:
        raise BadParameter(f"{run.path} holds {SNAPSHOTS}, which are averages themselves; choose with --posthoc --length, as in --posthoc --length 0.1.")
    if not choice.lengths:
        raise BadParameter(f"{run.path} holds {SNAPSHOTS}; say how long the average is, in parts of the run: --posthoc --length 0.1.")
    kept = Snapshots.of(run.path)
    opened = [load(snapshot.path) for snapshot in kept.members]
    return [_synthesised(kept, opened, length, choice) for length in choice.lengths]


def _synthesised(kept: Snapshots, opened: list[Weights], length: float, choice: Choice) -> Candidate:
    found = kept.reconstruct(length, at=choice.at)
    made = mixture(opened[: len(found.weights)], found.weights, choice.dtype)
    used = {snapshot.path: weight for snapshot, weight in zip(kept.members, found.weights, strict=False)}
    words = f"the power average of length {length:g} after {found.wanted.samples:,.0f} samples, out of {sum(map(bool, used.values()))} snapshots"
    return Candidate(length, words, used, made, found)
