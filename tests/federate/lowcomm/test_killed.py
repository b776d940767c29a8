"""One of three processes is killed with SIGKILL: the others go on within the time that is said, and end with the same bits."""

import json
import signal
import sys

from tests.processes import alone


def test_a_killed_process_costs_its_own_round(tmp_path) -> None:
    code, errors = alone([sys.executable, "-m", "tests.federate.lowcomm.killed", str(tmp_path)], 110)
    assert code == 0, errors
    assert json.loads((tmp_path / "ended.json").read_text()) == [0, -signal.SIGKILL, 0], errors
    mine, other = (json.loads((tmp_path / f"{name}.json").read_text()) for name in "ac")
    assert mine["weights"] == other["weights"]
    assert [entry["lost"] for entry in mine["history"]] == [[], ["b"]] and sorted(mine["history"][1]["members"]) == ["a", "c"]
    assert mine["slowest"] < 30  # it is missed after 2 s without a sign of life; a collective would wait 60 s for it
