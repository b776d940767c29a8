"""NVFlare itself: its simulator, with a server and two clients."""

import importlib
import os
import sys
from pathlib import Path

import pytest
import torch

from loomweight.federate import simulate

from ...processes import alone
from ..small import same

JOB = Path(__file__).parent / "nvflare_job"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nvflares_simulator_gives_the_bits_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(JOB), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.syspath_prepend(str(JOB))
    code, said = alone(
        [sys.executable, "-c", f"import os, runpy, sys; os.chdir({str(JOB)!r}); sys.argv = ['job.py', {str(tmp_path)!r}]; runpy.run_path('job.py')"], 500
    )
    assert code == 0, said
    left = torch.load(tmp_path / "loom" / "server" / "simulate_job" / "app_server" / "FL_global_model.pt", weights_only=True)["model"]
    net = importlib.import_module("net")
    ours = simulate(net.Net(), {f"site-{i + 1}": net.data(i) for i in range(2)}, net.strategy, 2)
    assert same({name: torch.as_tensor(value) for name, value in left.items()}, ours.weights)
