"""Supernets that two processes train together. One pair of processes runs all checks of two_processes.py."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from torch.nn.functional import cross_entropy

from loomweight.errors import BadParameter
from loomweight.supernet import Parallel, SinglePath, Uniform

from .training import mlp

ROOT, WORKER = Path(__file__).parents[2], Path(__file__).with_name("two_processes.py")
CHECKS = [node.name for node in ast.parse(WORKER.read_text()).body if isinstance(node, ast.FunctionDef) and node.name.startswith("check_")]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> list[dict[str, str]]:
    folder = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-m", "tests.supernet.two_processes"]
    running = [subprocess.Popen([*command, str(rank), str(folder)], cwd=ROOT, stderr=subprocess.PIPE, text=True) for rank in range(2)]
    try:
        errors = [process.communicate(timeout=240)[1] for process in running]
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


def test_without_processes_it_says_what_to_do() -> None:
    with pytest.raises(BadParameter, match=r"call torch\.distributed\.init_process_group, or train without Parallel"):
        Parallel(SinglePath(loss=cross_entropy, sampler=Uniform()), mlp(), subnets="same")
