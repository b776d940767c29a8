"""Checks that several processes of torch.distributed run together: each process runs every check and tells the outcome of each in a file.

A module of checks is a file whose functions `check_...` are the checks, and which ends in `if __name__ == "__main__": told(globals())`. Its test starts it once
with `outcomes(module, folder)`.
"""

import ast
import json
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
    command = [sys.executable, "-m", module]
    running = [subprocess.Popen([*command, str(rank), str(folder)], cwd=ROOT, stderr=subprocess.PIPE, text=True) for rank in range(processes)]
    try:
        errors = [process.communicate(timeout=timeout)[1] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0] * processes, errors
    return [json.loads((folder / f"outcome{rank}.json").read_text()) for rank in range(processes)]


def here() -> tuple[int, Path]:
    """In a module of checks: the number of this process, and the folder that all share."""
    return int(sys.argv[1]), Path(sys.argv[2])


def told(names: Mapping[str, Any], processes: int = 2) -> None:
    """In a module of checks: run all, in order, one after the other in step with the other processes."""
    import torch
    from torch import distributed

    rank, folder = here()
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


def _outcome(check: Callable[[], object]) -> str:
    try:
        check()
    except BaseException:  # noqa: BLE001  # pytest's failures are no Exception; whatever it is, it is told in the file
        return traceback.format_exc()
    return ""


def _fails() -> None:
    raise AssertionError("nothing is what it should be")
