"""Averages of models that two processes train together: DistributedDataParallel and FSDP2. One pair of processes runs all checks of two_processes.py."""

import pytest

from tests import processes

MODULE = "tests.trajectory.two_processes"
CHECKS = processes.checks(MODULE)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> list[dict[str, str]]:
    return processes.outcomes(MODULE, tmp_path_factory.mktemp("two"))


@pytest.mark.parametrize("check", CHECKS)
def test_two_processes(check, outcomes) -> None:
    for rank, outcome in enumerate(outcomes):
        assert not outcome[check], f"rank {rank}: {outcome[check]}"


def test_that_a_check_can_fail(outcomes) -> None:
    assert all("nothing is what it should be" in outcome["twin_that_fails"] for outcome in outcomes)
    assert len(CHECKS) > 10
