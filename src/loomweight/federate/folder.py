"""The folder of a federation: its state after a round, whole or not at all, and one process at a time."""

import hashlib
import os
import re
from pathlib import Path
from types import TracebackType
from typing import Self

from ..errors import BadParameter, OutputError
from ..weights.plain_state import load_plain_state, save_plain_state
from .plain import Plain
from .strategy import Strategy

_STATE, _LOCK, _KEY = "state.safetensors", "lock", "federation"


class Folder:
    """A folder that is claimed while it is open, as a context.

    Raises:
        OutputError: another process has it, or it cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        import fcntl

        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor or 0)
            raise OutputError(f"{self.path} belongs to a server that is running; stop it, or give another folder.") from None
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror or error}.") from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    @property
    def clients(self) -> Path:
        """Where the memories of clients are."""
        return self.path / "clients"

    def load(self, strategy: Strategy, clients: list[str], seed: int) -> Plain | None:
        """The state that was saved last, or None.

        Raises:
            BadParameter: it is of another strategy, other clients or another seed.
            BrokenFile: it is damaged.
        """
        file = self.path / _STATE
        if not file.exists():
            return None
        state = load_plain_state(file, _KEY)
        before, now = state["told"], told(strategy, clients, seed)
        changed = [f"{key} was {before[key]}, is {now[key]}" for key in now if before.get(key) != now[key]]
        if changed:
            raise BadParameter(f"{self.path} holds another federation: {'; '.join(changed)}. Give the same, or another folder.")
        return state

    def save(self, state: Plain, strategy: Strategy, clients: list[str], seed: int) -> None:
        """Write a state, whole or not at all."""
        save_plain_state({**state, "told": told(strategy, clients, seed)}, self.path / _STATE, _KEY, overwrite=True)


def told(strategy: Strategy, clients: list[str], seed: int) -> dict[str, str]:
    """What a federation was told, in words that can be compared."""
    words = re.sub(r" at 0x[0-9a-f]+", "", repr(strategy))
    return {"strategy": words, "clients": f"{len(clients)} ({hashlib.sha256(chr(0).join(clients).encode()).hexdigest()[:12]})", "seed": str(seed)}
