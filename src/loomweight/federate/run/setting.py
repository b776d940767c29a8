"""What a federation in a folder was told."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from ...errors import BadParameter, BrokenFile, OutputError
from ..attacks import Attack
from ..partition import Partition
from ..spoken import Spoken
from ..words import part

_FILE = "federation.json"


@dataclass(frozen=True)
class Setting:
    """The same words make the same federation.

    Args:
        data: `digits`, or `module:function` that gives (inputs, labels), or such a pair to train on and one to test.
        model: `perceptron`, or `module:factory`.
        clients: how many.
        split: who gets which samples, such as dirichlet(0.1).
        strategy: in words.
        attack: of the hostile clients, such as sign_flip.
        hostile: how many clients are; the last ones.
        seed: of everything.

    Raises:
        BadParameter: more hostile clients than there are, or some without an attack.
    """

    data: str = "digits"
    model: str = "perceptron"
    clients: int = 10
    split: str = "iid"
    strategy: Spoken = field(default_factory=Spoken)
    attack: str | None = None
    hostile: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.hostile < max(self.clients, 1) or self.seed < 0:
            raise BadParameter(f"hostile clients are fewer than all {self.clients}, and the seed is 0 or more; found {self.hostile} and {self.seed}.")
        if (self.attack is None) != (self.hostile == 0):
            raise BadParameter("an attack and a number of hostile clients go together: --attack sign_flip --hostile 2.")

    def partition(self) -> Partition:
        """Who gets which samples."""
        return part(self.split, (Partition,), "a partition")

    def attacker(self) -> Attack | None:
        """What the hostile clients do."""
        return part(self.attack, (Attack,), "an attack") if self.attack else None

    def check(self) -> None:
        """Make every part once, so that words that are none are told before anything is written."""
        self.strategy.strategy()
        self.partition()
        self.attacker()

    def begin(self, run: Path, *, resume: bool, overwrite: bool) -> None:
        """Write it into the folder, or check that the run there was told the same.

        Raises:
            OutputError: a run is there and neither `resume` nor `overwrite` was said, or the folder cannot be written.
            BadParameter: the run there was told something else.
            BrokenFile: what the folder says cannot be read.
        """
        file = run / _FILE
        if file.exists() and resume:
            before, now = _read(file), json.loads(json.dumps(asdict(self)))
            changed = [f"{key} was {before.get(key)!r}, is {now[key]!r}" for key in now if before.get(key) != now[key]]
            if changed:
                raise BadParameter(f"{run} holds another federation: {'; '.join(changed)}. Give the same words, or another folder.")
            return
        if file.exists() and not overwrite:
            raise OutputError(f"{run} holds a federation already; --resume goes on with it, --overwrite begins anew.")
        try:
            run.mkdir(parents=True, exist_ok=True)
            for old in (run / "state.safetensors", *(run / "clients").glob("*.safetensors")):
                old.unlink(missing_ok=True)
            fresh = run / f"{_FILE}.part"
            fresh.write_text(json.dumps(asdict(self), indent=2) + "\n", "utf-8")
            fresh.replace(file)
        except OSError as error:
            raise OutputError(f"{run} cannot be written: {error.strerror or error}.") from error


def _read(file: Path) -> Mapping[str, object]:
    try:
        told = json.loads(file.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise BrokenFile(f"{file} is damaged: {error}; begin anew in another folder.") from error
    if not isinstance(told, dict) or not {item.name for item in fields(Setting)} <= set(told):
        raise BrokenFile(f"{file} does not say what the federation was told; begin anew in another folder.")
    return told
