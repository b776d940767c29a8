"""The snapshots of a run's averages in a folder, and what can be put together from them.

Paper: Analyzing and Improving the Training Dynamics of Diffusion Models (2023, https://arxiv.org/abs/2312.02696), section 3.2 and appendix C.5.
"""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch

from ..errors import BadParameter, BrokenFile, TooFewSets
from ..rules import RunningAverage
from ..weights import Weights, load
from ..weights.header import read_header
from ..weights.json_file import parse_json
from ..weights.locate import locate
from ..weights.order import natural
from ..weights.store import Stamp
from .mixture import mixture
from .moment import Moment
from .power import Power
from .reconstruct import Synthesis, reconstruct

PATTERN = "snapshot-*.safetensors"
_KEY = "loomweight.snapshot"


@dataclass(frozen=True)
class Snapshot:
    """A file that holds an average as it was at a moment of the run.

    Args:
        power: its profile.
        samples: that the run had seen.
        run: the name of the run, the same for all its snapshots.
        path: the file.
    """

    power: Power
    samples: float
    run: str
    path: Path

    @property
    def moment(self) -> Moment:
        """Profile and time."""
        return Moment(self.power, self.samples)

    @staticmethod
    def name_of(power: Power, samples: float) -> str:
        """The file's name: samples, then length.

        >>> Snapshot.name_of(Power.of_length(0.05), 128_000)
        'snapshot-000000128000-0.0500.safetensors'
        >>> Snapshot.name_of(Power.of_length(0.05), 0.25)
        'snapshot-000000000000.25-0.0500.safetensors'
        """
        whole, rest = f"{samples:.6f}".split(".")
        return f"snapshot-{whole:0>12}{'.' * bool(rest.strip('0'))}{rest.rstrip('0')}-{power.length:.4f}.safetensors"

    @staticmethod
    def metadata_of(power: Power, samples: float, run: str) -> dict[str, str]:
        """What the header of the file says of it."""
        told = {"profile": "power", "gamma": power.gamma, "length": power.length, "samples": samples, "run": run}
        return {"format": "pt", _KEY: json.dumps(told)}

    @classmethod
    def of(cls, path: Path) -> Self:
        """Read the header of a file.

        Raises:
            BrokenFile: the file is damaged, or no snapshot.
        """
        found = read_header(path, Stamp.of(path).size).metadata
        if _KEY not in found:
            raise BrokenFile(f"{path}: has the name of a snapshot, but its header does not say of which average and when; move it elsewhere.")
        told: dict[str, Any] = parse_json(found[_KEY].encode(), f"{path}: {_KEY} in the header")
        try:
            power, samples = Power(float(told["gamma"])), float(told["samples"])
            return cls(power, Moment(power, samples).samples, str(told["run"]), path)
        except (KeyError, TypeError, ValueError) as error:
            raise BrokenFile(f"{path}: {_KEY} in the header is not whole: {error}; copy the file again.") from error


@dataclass(frozen=True)
class Snapshots:
    """All snapshots of a run, in the order of the run.

    Part of: post_hoc_ema.

    >>> import tempfile
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     posthoc = lw.trajectory.PostHocEMA(model, every=10, folder=folder)
    ...     for step in range(100):
    ...         _ = model.weight.data.fill_(step), posthoc.update()
    ...     kept = Snapshots.of(folder)
    ...     found = kept.reconstruct(length=0.07)
    ...     round(found.error, 4), round(kept.weights(found)["weight"].item(), 1)
    (0.0091, 91.9)
    """

    members: tuple[Snapshot, ...]

    @classmethod
    def of(cls, folder: str | Path) -> Self:
        """The snapshots in a folder; headers are read, no data.

        Raises:
            UnknownName: there is no such folder.
            TooFewSets: it holds none, or those of one length only.
            BrokenFile: one is damaged, has lost its partner of the other length, or is of another run.
        """
        path = locate(str(folder))
        names = natural(file.name for file in path.glob(PATTERN))
        if not names:
            raise TooFewSets(f"{folder} holds no snapshots ({PATTERN}); PostHocEMA(model, every=..., folder=...) writes them while a model trains.")
        found = sorted((Snapshot.of(path / name) for name in names), key=lambda snapshot: (snapshot.samples, snapshot.power.length))
        _check(folder, found)
        return cls(tuple(found))

    @property
    def samples(self) -> tuple[float, ...]:
        """When snapshots were taken, rising."""
        return tuple(sorted({snapshot.samples for snapshot in self.members}))

    @property
    def lengths(self) -> tuple[float, ...]:
        """Of the averages that were kept."""
        return _lengths(self.members)

    def reconstruct(self, length: float | None = None, *, profile: RunningAverage | None = None, at: float | None = None) -> Synthesis:
        """How an average comes out of the snapshots, and how well. Those until `at` are used; where none lies there, the next one too.

        Args:
            length: relative standard deviation of the power profile, in (0, 0.2886].
            profile: instead of a length: any profile, such as `Exponential(half_life)`.
            at: samples of the run, by default until the last snapshot.

        Raises:
            BadParameter: neither or both of length and profile; a length out of range; a time that is not before the last snapshot.
        """
        wanted = Moment(_profile(length, profile), self.samples[-1] if at is None else at)
        if wanted.samples > self.samples[-1]:
            raise BadParameter(f"the last snapshot was taken after {self.samples[-1]:,.0f} samples; nothing is known of {wanted.samples:,.0f}.")
        until = next(samples for samples in self.samples if samples >= wanted.samples)
        used = [snapshot.moment for snapshot in self.members if snapshot.samples <= until]
        return reconstruct(used, wanted)

    def weights(self, synthesis: Synthesis, dtype: torch.dtype | None = None) -> Weights:
        """What `reconstruct` has found, as weights: lazy, each snapshot is read once, and one of coefficient 0 not at all."""
        used = self.members[: len(synthesis.weights)]
        return mixture([load(snapshot.path) for snapshot in used], synthesis.weights, dtype)


def synthesise(
    folder: str | Path, length: float | None = None, *, profile: RunningAverage | None = None, at: float | None = None, dtype: torch.dtype | None = None
) -> Weights:
    """The average of any length, at any time of a run, out of the snapshots that `PostHocEMA` wrote. Lazy: `lw.save` reads each once.

    `Snapshots.of(folder).reconstruct(length)` says how close it comes.

    Part of: post_hoc_ema.

    Args:
        folder: with the snapshots.
        length, profile, at: see `Snapshots.reconstruct`.
        dtype: of floating tensors; by default that of the snapshots.

    Raises:
        TooFewSets, BrokenFile, UnknownName: see `Snapshots.of`.
        BadParameter: see `Snapshots.reconstruct`.

    >>> import tempfile
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     posthoc = lw.trajectory.PostHocEMA(model, every=10, folder=folder)
    ...     for step in range(100):
    ...         _ = model.weight.data.fill_(step), posthoc.update()
    ...     bool(torch.equal(synthesise(folder, 0.05)["weight"], posthoc.tracks[0].value()["weight"]))
    True
    """
    kept = Snapshots.of(folder)
    return kept.weights(kept.reconstruct(length, profile=profile, at=at), dtype)


def _profile(length: float | None, profile: RunningAverage | None) -> RunningAverage:
    if (length is None) == (profile is None):
        raise BadParameter(f"give a length, or a profile; found length={length}, profile={profile}.")
    return Power.of_length(length) if length is not None else profile  # type: ignore[return-value]


def _lengths(snapshots: Iterable[Snapshot]) -> tuple[float, ...]:
    return tuple(sorted({round(snapshot.power.length, 9) for snapshot in snapshots}))


def _check(folder: str | Path, found: list[Snapshot]) -> None:
    for other in found:
        if other.run != found[0].run:
            raise BrokenFile(f"{folder} holds snapshots of several runs: {found[0].path.name} and {other.path.name}; give each run a folder of its own.")
    lengths = _lengths(found)
    if len(lengths) < 2:
        held = f"{len(found)} snapshot{'s' * (len(found) != 1)} of the length {found[0].power.length:.4f}"
        raise TooFewSets(f"{folder} holds {held} and of no other; two lengths are needed, copy the other files too.")
    by_time: dict[float, list[Snapshot]] = defaultdict(list)
    for snapshot in found:
        by_time[snapshot.samples].append(snapshot)
    for samples, there in by_time.items():
        if lacking := set(lengths) - set(_lengths(there)):
            name = Snapshot.name_of(Power.of_length(min(lacking)), samples)
            raise BrokenFile(f"{folder}: {name} is missing beside {there[0].path.name}: copy it again, or remove what is left of that moment.")
