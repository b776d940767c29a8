"""Averages of models that two processes train together: DistributedDataParallel and FSDP2. One pair of processes runs all checks of two_processes.py."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT, WORKER = Path(__file__).parents[2], Path(__file__).with_name("two_processes.py")
CHECKS = [node.name for node in ast.parse(WORKER.read_text()).body if isinstance(node, ast.FunctionDef) and node.name.startswith(("ddp_", "fsdp_"))]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> list[dict[str, str]]:
    folder = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-m", "tests.trajectory.two_processes"]
    running = [subprocess.Popen([*command, str(rank), str(folder)], cwd=ROOT, stderr=subprocess.PIPE, text=True) for rank in range(2)]
    try:
        errors = [process.communicate(timeout=100)[1] for process in running]
    finally:
        for process in running:
            process.kill()
    assert [process.returncode for process in running] == [0, 0], errors
    return [json.loads((folder / f"outcome{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("check", CHECKS)
def test_two_processes(check, outcomes) -> None:
    for rank, outcome in enumerate(outcomes):
        assert not outcome[check], f"rank {rank}: {outcome[check]}"


def test_that_a_check_can_fail(outcomes) -> None:
    assert all("nothing is what it should be" in outcome["twin_that_fails"] for outcome in outcomes)
    assert len(CHECKS) > 10
