"""Supernets that two processes train together. One pair of processes runs all checks of two_processes.py."""

import pytest
from torch.nn.functional import cross_entropy

from loomweight.errors import BadParameter
from loomweight.supernet import Parallel, SinglePath, Uniform

from .. import processes
from .training import mlp

MODULE = "tests.supernet.two_processes"
CHECKS = processes.checks(MODULE)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> list[dict[str, str]]:
    return processes.outcomes(MODULE, tmp_path_factory.mktemp("two"), timeout=240)


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
