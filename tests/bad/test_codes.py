"""Dtypes that are floating by name and are codes of quantised weights: copied where they are equal, never averaged."""

from pathlib import Path

import pytest
import torch

import loomweight as lw
from loomweight.errors import IntegersDiffer
from loomweight.rules import Mean

from ..cli.run import run
from .scene import everything, recipe, refused

CODES = [torch.float8_e8m0fnu, torch.float4_e2m1fn_x2]
LINEAR = "merge_method: linear\nmodels: [{model: a.safetensors}, {model: b.safetensors}]\nparameters: {weight: 1}\n"
every = pytest.mark.parametrize("dtype", CODES, ids=str)


def codes(dtype: torch.dtype, first: int) -> torch.Tensor:
    return torch.arange(first, first + 8, dtype=torch.uint8).view(dtype)


def bits(path: str) -> torch.Tensor:
    return lw.load(path)["mlp.scales"].view(torch.uint8)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def saved(dtype: torch.dtype, a: int, b: int) -> None:
    for name, first, value in (("a", a, 1.0), ("b", b, 3.0)):
        lw.save({"mlp.scales": codes(dtype, first), "norm.weight": torch.full((2,), value)}, f"{name}.safetensors")


@every
@pytest.mark.usefixtures("models")
def test_merging_them_is_an_error_that_names_the_tensor(dtype: torch.dtype, capsys: pytest.CaptureFixture[str]) -> None:
    saved(dtype, 100, 101)
    name = str(dtype).removeprefix("torch.")
    says = rf"{name} tensor 'mlp\.scales' differs between a\.safetensors and b\.safetensors; codes are never averaged: dequantise the models, take the first"
    refused(capsys, "merge", recipe(LINEAR), "out.safetensors", says=says)
    assert run(capsys, "merge", recipe(LINEAR + "integers: first\n"), "out.safetensors").code == 0
    assert torch.equal(bits("out.safetensors"), bits("a.safetensors"))


@every
@pytest.mark.usefixtures("models")
def test_where_they_are_equal_they_are_copied_and_the_rest_is_merged(dtype: torch.dtype, capsys: pytest.CaptureFixture[str]) -> None:
    saved(dtype, 100, 100)
    assert run(capsys, "merge", recipe(LINEAR + "dtype: bfloat16\n"), "out.safetensors").code == 0
    out = lw.load("out.safetensors")
    assert torch.equal(bits("out.safetensors"), bits("a.safetensors")) and out["norm.weight"].tolist() == [2, 2]
    assert out.spec["mlp.scales"].dtype == dtype and out.spec["norm.weight"].dtype == torch.bfloat16


@every
@pytest.mark.usefixtures("models")
def test_they_are_no_numbers_beside_numbers(dtype: torch.dtype, capsys: pytest.CaptureFixture[str]) -> None:
    saved(dtype, 100, 100)
    lw.save({"mlp.scales": torch.ones(8), "norm.weight": torch.ones(2)}, "b.safetensors", overwrite=True)
    refused(
        capsys,
        "merge",
        recipe(LINEAR + "dtype: float32\n"),
        "out",
        says=r"tensor 'mlp\.scales' has dtypes .*; codes of quantised weights are never averaged, convert one",
    )


@every
@pytest.mark.usefixtures("models")
def test_every_command_that_looks_reads_them(dtype: torch.dtype, capsys: pytest.CaptureFixture[str]) -> None:
    saved(dtype, 100, 101)
    before = everything(Path.cwd())
    for arguments in (("inspect", "a.safetensors"), ("doctor", "a.safetensors"), ("diff", "a.safetensors", "b.safetensors")):
        ran = run(capsys, *arguments)
        assert ran.code in (0, 1) and "Traceback" not in ran.err, ran
    assert everything(Path.cwd()) == before


@every
def test_they_have_no_arithmetic_and_nothing_is_rounded_to_them(dtype: torch.dtype, tmp_path: Path) -> None:
    a, b = ({"w": codes(dtype, first)} for first in (100, 101))
    assert not lw.load(a).spec["w"].averages
    with pytest.raises(IntegersDiffer, match=r"'w' differs between set 0 and set 1; codes are never averaged"):
        lw.combine([a, b], Mean())["w"]
    with pytest.raises(IntegersDiffer, match=rf"codes \({str(dtype).removeprefix('torch.')}\) have no arithmetic: 'w'"):
        0.5 * lw.load(a)
    with pytest.raises(LookupError, match="no floating dtype named"):
        lw.save({"w": torch.ones(2)}, tmp_path / "w.safetensors", dtype=dtype)
