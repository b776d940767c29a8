"""What clients keep from task to task: in memory, or in a folder beside the state of the server."""

import hashlib
from pathlib import Path

from ..weights.plain_state import load_plain_state, save_plain_state
from .plain import Plain

_KEY = "client"


class Memories:
    """The memory of each client.

    In a folder, what changed since the last `save` stays in memory, and the rest is on disk: thousands of clients with a model each need
    the memory of those of one round.

    Args:
        folder: where to keep them; None keeps all in memory.
        files: client -> file, as `save` gave it.

    >>> memories = Memories()
    >>> memories.put("ann", {"local": {"w": torch.ones(1)}})
    >>> memories.get("ann"), memories.get("bob")
    ({'local': {'w': tensor([1.])}}, {})
    """

    def __init__(self, folder: Path | None = None, files: dict[str, str] | None = None) -> None:
        self.folder, self.files = folder, dict(files or {})
        self._fresh: dict[str, Plain] = {}

    def get(self, client: str) -> Plain:
        """What the client has kept, {} at first."""
        if client in self._fresh:
            return self._fresh[client]
        if self.folder and client in self.files:
            return load_plain_state(self.folder / self.files[client], _KEY)
        return {}

    def put(self, client: str, memory: Plain) -> None:
        """Keep this."""
        if memory or client in self._fresh or client in self.files:
            self._fresh[client] = memory

    def save(self, number: int) -> dict[str, str]:
        """Write what changed; files of the save before stay, so that a state that names them can still be gone back to."""
        if self.folder is None:
            return {}
        self.folder.mkdir(parents=True, exist_ok=True)
        for client, memory in self._fresh.items():
            name = f"{hashlib.sha256(client.encode()).hexdigest()[:16]}-{number}.safetensors"
            save_plain_state(memory, self.folder / name, _KEY, overwrite=True)
            self.files[client] = name
        self._fresh.clear()
        return dict(self.files)

    def sweep(self) -> None:
        """Remove files that no client's memory is in: called once the state that names the new ones is safe."""
        if self.folder is not None and self.folder.exists():
            live = set(self.files.values())
            for file in self.folder.glob("*.safetensors"):
                if file.name not in live:
                    file.unlink(missing_ok=True)
