"""Flower's real server and real nodes on this machine, as processes that are all gone afterwards."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

BIN = Path(sys.executable).parent


@dataclass
class Deployed:
    """A SuperLink with nodes.

    Args:
        folder: of its own, with the app.
        env: in which its commands run.
    """

    folder: Path
    env: dict[str, str]

    def run(self, timeout: float = 240, **config: object) -> tuple[str, Any]:
        """`flwr run` with this configuration, to its end: what it said, and what Flower says of the run."""
        told = " ".join(f"{key}={json.dumps(value)}" for key, value in config.items())
        command = [BIN / "flwr", "run", self.folder / "app", "here", "--stream", "--run-config", told]
        said = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=timeout, check=False)
        return said.stdout + said.stderr, self.runs()[0]

    def runs(self) -> list[Any]:
        """What `flwr list` says, latest first."""
        listed = subprocess.run([BIN / "flwr", "list", "here", "--format", "json"], env=self.env, capture_output=True, text=True, timeout=60, check=True)
        return sorted(json.loads(listed.stdout)["runs"], key=lambda run: run["pending-at"], reverse=True)


@contextmanager
def deployed(folder: Path, nodes: int) -> Iterator[Deployed]:
    """A SuperLink and so many SuperNodes on loopback."""
    port = _free()
    shutil.copytree(Path(__file__).parent / "app", folder / "app")
    (folder / "app" / "LICENSE").write_text("Apache-2.0\n")
    (folder / "home").mkdir()
    (folder / "home" / "config.toml").write_text(f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "127.0.0.1:{port}"\ninsecure = true\n')
    env = os.environ | {
        "FLWR_HOME": str(folder / "home"),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }
    link = ["flower-superlink", "--insecure", "--disable-runtime-dependency-installation", "--host", "127.0.0.1", "--port", str(port)]
    commands = [link] + [
        ["flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{port}", "--host", "127.0.0.1", "--port", str(_free()), "--node-config", config]
        for config in (f"partition-id={i} num-partitions={nodes}" for i in range(nodes))
    ]
    running: list[subprocess.Popen[bytes]] = []
    try:
        for i, command in enumerate(commands):
            with (folder / f"{command[0]}{i}.log").open("wb") as file:
                running.append(subprocess.Popen([BIN / command[0], *command[1:]], env=env, stdout=file, stderr=file, start_new_session=True))
        _answers(port)
        yield Deployed(folder, env)
    finally:
        _stop(running)


def _stop(running: list[subprocess.Popen[bytes]]) -> None:
    """End them and all that they started."""
    family = [child for process in running if process.poll() is None for child in psutil.Process(process.pid).children(recursive=True)]
    for process in [*running, *family]:
        try:
            process.terminate()
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs([*family, *(psutil.Process(p.pid) for p in running if p.poll() is None)], timeout=10)
    for process in alive:
        process.kill()
    for process in running:
        process.wait(10)


def _free() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _answers(port: int, patience: float = 60) -> None:
    ends = time.monotonic() + patience
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.3)
