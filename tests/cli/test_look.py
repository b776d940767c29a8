"""inspect, diff, doctor, methods: what a user sees, and how they end."""

import json

import pytest
import torch
from safetensors.torch import save_file

from .run import run


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"layers.0.w": torch.tensor([[3.0, -4.0]]), "step": torch.tensor([7])}, path)
    return path


def test_inspect_shows_shapes_norms_and_what_is_wrong(capsys, tmp_path) -> None:
    path = tmp_path / "sick.safetensors"
    save_file({"w": torch.tensor([3.0, float("nan"), float("inf"), -4.0])}, path)
    ran = run(capsys, "inspect", path)
    assert ran.code == 0 and "1 NaN, 1 Inf" in ran.out and "-4 .. 3" in ran.out
    (fact,) = json.loads(run(capsys, "inspect", path, "--json").out)["tensors"]
    assert fact["norm"] == 5 and fact["nan"] == 1 and fact["inf"] == 1 and fact["nbytes"] == 16


def test_inspect_only_some(capsys, model) -> None:
    assert "step" not in run(capsys, "inspect", model, "--only", "layers.*").out
    ran = run(capsys, "inspect", model, "--only", "layer.*")
    assert ran.code == 2 and "no tensor that matches named 'layer.*'" in ran.err and "Traceback" not in ran.err


def test_diff_ends_with_0_or_1(capsys, model, tmp_path) -> None:
    same = run(capsys, "diff", model, model)
    assert same.code == 0 and "2 of 2 common tensors are equal to the bit" in same.out
    other = tmp_path / "other.safetensors"
    save_file({"layers.0.w": torch.tensor([[3.0, -3.5]]), "extra": torch.zeros(1)}, other)
    ran = run(capsys, "diff", model, other)
    assert ran.code == 1 and "only in the first: step" in ran.out and "only in the second: extra" in ran.out
    change = json.loads(run(capsys, "diff", model, other, "--json").out)["changes"][0]
    assert change["distance"] == pytest.approx(0.1) and change["largest"] == 0.5


def test_doctor_finds_a_lie_and_a_sick_number(capsys, tmp_path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    save_file({"model.embed_tokens.weight": torch.ones(4, 2)}, folder / "model.safetensors")
    (folder / "config.json").write_text('{"hidden_size": 2, "vocab_size": 4}')
    assert run(capsys, "doctor", folder).code == 0
    (folder / "config.json").write_text('{"hidden_size": 3, "vocab_size": 4}')
    lying = run(capsys, "doctor", folder)
    assert lying.code == 1 and "config.json says hidden_size = 3, but 'model.embed_tokens.weight' has shape (4, 2)" in lying.out
    save_file({"model.embed_tokens.weight": torch.full((4, 3), float("nan"))}, folder / "model.safetensors")
    sick = run(capsys, "doctor", folder, "--json")
    assert sick.code == 1 and any("12 NaN" in finding["what"] for finding in json.loads(sick.out) if finding["grade"] == "bad")


def test_doctor_on_a_truncated_file(capsys, model) -> None:
    model.write_bytes(model.read_bytes()[:-3])
    ran = run(capsys, "doctor", model)
    assert ran.code == 1 and "BAD" in ran.out and "Traceback" not in ran.out + ran.err


def test_methods_lists_all_with_papers_and_finds_near_names(capsys) -> None:
    listed = json.loads(run(capsys, "methods", "--json").out)
    fisher = next(method for method in listed if (method["package"], method["name"]) == ("rules", "fisher"))
    assert fisher["papers"][0]["title"] == "Merging Models with Fisher-Weighted Averaging" and "evidence" in fisher["needs"]
    assert "Merging Models with Fisher-Weighted Averaging" in run(capsys, "methods", "Fisher").out
    assert not [parameter for method in listed for parameter in method["parameters"] if " at 0x" in parameter]
    wrong = run(capsys, "methods", "fischer")
    assert wrong.code == 2 and "nearest: 'fisher'" in wrong.err


def test_a_command_that_does_not_exist(capsys) -> None:
    assert run(capsys, "inspekt").code == 2
    assert run(capsys, "--version").out.startswith("loomweight ")
