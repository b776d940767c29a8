"""Collaborative descent: contributors fine-tune the current base, and the fusion of what they bring is the next base.

Paper: ColD Fusion: Collaborative Descent for Distributed Multitask Finetuning (2022, https://arxiv.org/abs/2212.01378),
algorithm 1.

A repository is a folder:

    CURRENT                          the number of the current round; replaced by one rename
    rounds/0003/base/                the base of a round: weights, config, tokenizer
    rounds/0003/contributions/NAME/  what contributors brought; each appears whole or not at all
    .lock                            contributors share it, a fusion has it alone
"""

import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import BadParameter, OutputError, TooFewSets, UnknownName, unknown
from ..rules import Mean, Rule, combine
from ..weights import Weights, load
from ..weights.algebra import agree, keep
from ..weights.names import listed, matches
from ..weights.write import Output, write
from .native import made_by
from .side_files import copied


@dataclass(frozen=True)
class Repository:
    """A folder that many contributors and one fusion at a time may use; a crash of any of them loses nothing.

    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     repo = Repository.init(f"{folder}/repo", {"w": torch.tensor([0.0])})
    ...     paths = repo.contribute({"w": torch.tensor([2.0])}, "ann"), repo.contribute({"w": torch.tensor([4.0])}, "bob")
    ...     load(repo.fuse())["w"], repo.round
    (tensor([3.]), 1)
    """

    path: Path

    @staticmethod
    def init(path: str | Path, base: object) -> "Repository":
        """Start a repository from a pretrained checkpoint (anything that `load` takes).

        Raises:
            OutputError: there is something at that path already.
        """
        repo = Repository(Path(path))
        if repo.path.exists() and any(repo.path.iterdir()):
            raise OutputError(f"{path} exists and is not empty; a repository starts in a new folder.")
        weights = load(base)  # type: ignore[arg-type]
        files = _beside(Path(base)) if isinstance(base, str | Path) and Path(base).is_dir() else {}
        write(weights, Output(repo._base(0), files=files))
        repo._advance(0)
        return repo

    @staticmethod
    def open(path: str | Path) -> "Repository":
        """An existing repository.

        Raises:
            UnknownName: there is none at that path.
        """
        if not (Path(path) / "CURRENT").is_file():
            raise UnknownName(f"{path} is no repository: it has no file CURRENT; start one with `loomweight repo init`.")
        return Repository(Path(path))

    @property
    def round(self) -> int:
        """The number of the current round; it grows by one with each fusion."""
        return int((self.path / "CURRENT").read_text())

    @property
    def base(self) -> Path:
        """The folder of the current base: what contributors fine-tune."""
        return self._base(self.round)

    @property
    def contributions(self) -> list[Path]:
        """The current round's contributions, by name."""
        folder = self._round(self.round) / "contributions"
        return sorted(path for path in folder.glob("*") if not path.name.startswith(".")) if folder.is_dir() else []

    def contribute(self, weights: object, name: str, *, started: int | None = None, drop: Sequence[str] = ()) -> Path:
        """Add a fine-tune of the current base under a name that is free in this round.

        Args:
            weights: anything that `load` takes.
            name: who or what it is; letters, digits, `-`, `_` and `.`.
            started: the round whose base it was fine-tuned from, if known; it must be the current one.
            drop: patterns of names that are no part of the base (task heads).

        Raises:
            NamesDiffer, ShapesDiffer, TiesDiffer: it does not fit the base.
            OutputError: the name is taken, or the round is over.
        """
        if not name or name.startswith(".") or any(not (char.isalnum() or char in "-_.") for char in name):
            raise BadParameter(f"the name of a contribution is made of letters, digits, '-', '_' and '.', found {name!r}.")
        body = _without(load(weights), drop)  # type: ignore[arg-type]
        with self._locked(alone=False):
            if started is not None and started != self.round:
                raise OutputError(f"this was fine-tuned from round {started}, but round {self.round} is open: its base is {self.base}; fine-tune that.")
            agree(load(self.base, label="the base"), body)
            return write(body, Output(self._round(self.round) / "contributions" / name))

    def fuse(self, rule: Rule | None = None) -> Path:
        """Combine the round's contributions (by default their mean) into the next base, and open the next round.

        Waits for contributors that are writing. The new base is whole on the disk before `CURRENT` changes; a fusion that was
        killed is simply done again.

        Raises:
            TooFewSets: nobody has contributed to this round.
        """
        with self._locked(alone=True):
            found = self.contributions
            if not found:
                raise TooFewSets(f"round {self.round} of {self.path} has no contribution; add one with `loomweight repo contribute`.")
            following = self._base(self.round + 1)
            fused = combine([load(path) for path in found], rule or Mean(), integers="first")
            write(fused, Output(following, files=_beside(self.base), overwrite=True))
            self._advance(self.round + 1)
        return following

    def _round(self, number: int) -> Path:
        return self.path / "rounds" / f"{number:04}"

    def _base(self, number: int) -> Path:
        return self._round(number) / "base"

    def _advance(self, number: int) -> None:
        fresh = self.path / ".CURRENT.new"
        with fresh.open("w") as file:
            file.write(f"{number}\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path / "CURRENT")

    @contextmanager
    def _locked(self, alone: bool) -> Iterator[None]:
        import fcntl

        with (self.path / ".lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            yield


def plain_rule(name: str) -> Rule:
    """The rule of that name with its defaults.

    Raises:
        UnknownName: there is none; the message has the nearest names.
        BadParameter: it cannot be used without parameters.
    """
    made = {found: thing for found, thing in made_by().items() if _needs_nothing(thing)}
    wanted = name.lower().replace("-", "_")
    if wanted in made_by() and wanted not in made:
        raise BadParameter(f"{name} needs parameters; fuse with it from Python: Repository.open(...).fuse(rule).")
    if wanted not in made:
        raise unknown("rule", name, made)
    return made[wanted]()


def _needs_nothing(thing: Callable[..., Rule]) -> bool:
    return all(p.default is not p.empty for p in inspect.signature(thing).parameters.values())


def _without(weights: Weights, drop: Sequence[str]) -> Weights:
    for pattern in drop:
        if not any(matches(pattern, name) for name in weights.names):
            raise UnknownName(f"nothing to drop: no tensor matches {pattern!r}; there are {listed(weights.names)}.")
    return keep(weights, [name for name in weights.names if not any(matches(pattern, name) for pattern in drop)])


def _beside(folder: Path) -> dict[str, bytes]:
    config = folder / "config.json"
    return copied(folder) | ({"config.json": config.read_bytes()} if config.exists() else {})
