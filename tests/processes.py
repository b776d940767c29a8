"""Checks that several processes of torch.distributed run together: each process runs every check and tells the outcome of each in a file.

A module of checks is a file whose functions `check_...` are the checks. After its imports it says `RANK, FOLDER = here()`, where one process becomes
several, so that torch is imported once; it ends in `if __name__ == "__main__": told(globals())`. Its test starts it once with `outcomes(module, folder)`.
"""

import ast
import json
import os
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def checks(module: str) -> list[str]:
    """The names of a module's checks, without importing it."""
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")]


def outcomes(module: str, folder: Path, processes: int = 2, timeout: float = 100) -> list[dict[str, str]]:
    """Run all checks in that many processes; for each process, what went wrong in each check, or nothing."""
    code, errors = alone([sys.executable, "-m", module, str(processes), str(folder)], timeout)
    assert code == 0, errors
    return [json.loads((folder / f"outcome{rank}.json").read_text()) for rank in range(processes)]


def alone(command: list[str], timeout: float) -> tuple[int, str]:
    """Run a command that starts processes of its own, and leave none of them behind; its exit status, and what it said to stderr."""
    running = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        errors = running.communicate(timeout=timeout)[1]
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.communicate()
    return running.returncode, errors


def here() -> tuple[int, Path]:
    """In a module of checks: this process becomes as many as were asked for. The number of this one, and the folder that all share."""
    return forked(int(sys.argv[1])), Path(sys.argv[2])


CHILDREN: list[int] = []


def forked(processes: int) -> int:
    """The number of this process after it became so many; no thread may have been started yet."""
    for rank in range(1, processes):
        child = os.fork()
        if child == 0:
            CHILDREN.clear()
            return rank
        CHILDREN.append(child)
    return 0


def told(names: Mapping[str, Any]) -> None:
    """In a module of checks: run all, in order, one after the other in step with the other processes."""
    import torch
    from torch import distributed

    rank, processes, folder = names["RANK"], int(sys.argv[1]), names["FOLDER"]
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=processes, timeout=timedelta(seconds=60))
    outcome = {}
    for name, check in [*names.items(), ("twin_that_fails", _fails)]:
        if name.startswith(("check_", "twin_")):
            outcome[name] = _outcome(check)
            distributed.barrier()
    (folder / f"outcome{rank}.json").write_text(json.dumps(outcome))
    distributed.destroy_process_group()
    failed = [child for child in CHILDREN if os.waitpid(child, 0)[1] != 0]
    assert not failed, f"{len(failed)} of the other processes failed"


def _outcome(check: Callable[[], object]) -> str:
    try:
        check()
    except BaseException:  # noqa: BLE001  # pytest's failures are no Exception; whatever it is, it is told in the file
        return traceback.format_exc()
    return ""


def _fails() -> None:
    raise AssertionError("nothing is what it should be")
