"""The command line on real folders, as a user types it."""

import json
import shutil
from pathlib import Path

import pytest
from torch.testing import assert_close

from ..cli.run import run
from .architectures import ALL, Architecture
from .merging import apart, by_hand, loaded, saved

BY_NAME = {architecture.name: architecture for architecture in ALL}
RECIPE = """
merge_method: task_arithmetic
base_model: base
models:
  - {model: one, parameters: {weight: 0.5}}
  - {model: two, parameters: {weight: 0.5}}
dtype: float32
"""


@pytest.mark.parametrize("name", ["gpt2", "whisper"])
def test_merge_then_look_at_it(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    architecture = BY_NAME[name]
    models = {"base": architecture.base, "one": architecture.tuned(1), "two": architecture.tuned(2)}
    saved(tmp_path, models)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()

    planned = run(capsys, "merge", "recipe.yaml", "out", "--dry-run")
    assert planned.code == 0 and not Path("out").exists() and "task_arithmetic" in planned.out
    ran = run(capsys, "merge", "recipe.yaml", "out", "--threads", 2)
    assert ran.code == 0 and "merged by task_arithmetic from one, two, base" in ran.out and "Traceback" not in ran.err
    truth = by_hand(list(models.values()), lambda base, one, two: base + 0.5 * (one - base) + 0.5 * (two - base))
    model = loaded(type(models["base"]), tmp_path / "out")
    assert all(apart(model.state_dict()[key], value) < 1e-6 for key, value in truth.items())
    capsys.readouterr()
    looked_at(capsys, architecture, models)


def looked_at(capsys: pytest.CaptureFixture[str], architecture: Architecture, models: dict) -> None:
    report = json.loads(run(capsys, "inspect", "out", "--json").out)
    state = models["base"].state_dict()
    facts = {fact["name"]: fact for fact in report["tensors"]}
    assert set(facts) == set(state) - set(architecture.ties)
    assert all(tuple(fact["shape"]) == tuple(state[key].shape) and fact["dtype"] == "float32" and not fact["nan"] for key, fact in facts.items())
    assert report["bytes"] == sum(4 * state[key].numel() for key in facts)

    assert run(capsys, "diff", "out", "out").code == 0
    different = run(capsys, "diff", "base", "one", "--json")
    changes = {change["name"]: change for change in json.loads(different.out)["changes"]}
    assert different.code == 1 and set(changes) == set(facts)
    for key, change in changes.items():
        moved = models["one"].state_dict()[key].double() - state[key].double()
        assert_close(change["distance"], float(moved.norm() / state[key].double().norm()), rtol=1e-6, atol=0)
        assert_close(change["largest"], float(moved.abs().max()), rtol=1e-6, atol=0)

    assert run(capsys, "doctor", "out").code == 0
    again = run(capsys, "merge", "recipe.yaml", "out")
    assert again.code == 2 and "Traceback" not in again.err and "out" in again.err
    assert run(capsys, "diff", "out", "out").code == 0


def test_doctor_tells_a_damaged_copy(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    saved(tmp_path, {"base": BY_NAME["bert"].base})
    assert run(capsys, "doctor", tmp_path / "base").code == 0
    shutil.copytree(tmp_path / "base", tmp_path / "broken")
    file = tmp_path / "broken" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    ran = run(capsys, "doctor", tmp_path / "broken")
    assert ran.code == 1 and "BAD" in ran.out and "model.safetensors" in ran.out and "Traceback" not in ran.err
