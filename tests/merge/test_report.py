"""The report: its numbers by another formula, its page self-contained."""

import re
from pathlib import Path

import pytest
import torch

import loomweight as lw
from loomweight.merge.report import render, write_report
from loomweight.merge.run import run
from loomweight.merge.statistics import layers

pytest.importorskip("matplotlib", reason="the extra `report` is not installed")


@pytest.fixture
def outcome(tmp_path: Path):
    torch.manual_seed(0)
    base = {f"layers.{i}.w": torch.randn(6, 5) for i in range(3)}
    for name in ("base", "a", "b"):
        tuned = {key: value + (0.1 * torch.randn(6, 5) if name != "base" else 0) for key, value in base.items()}
        lw.save(tuned, tmp_path / name / "model.safetensors")
    models = "[{model: TMP/a, parameters: {weight: 0.5}}, {model: TMP/b, parameters: {weight: 0.25}}]"
    text = f"merge_method: task_arithmetic\nbase_model: TMP/base\nmodels: {models}\n"
    (tmp_path / "r.yaml").write_text(text.replace("TMP", str(tmp_path)))
    return run(tmp_path / "r.yaml", tmp_path / "out")


def test_numbers_are_those_of_the_whole_vectors(outcome, tmp_path) -> None:
    ((_, found),) = layers(outcome.plans[0], lw.load(outcome.paths[0])).items()
    base, a, b = (lw.load(tmp_path / name) for name in ("base", "a", "b"))
    assert [layer.name for layer in found] == ["layers.0", "layers.1", "layers.2"]
    for layer in found:
        w, x, y = (weights[f"{layer.name}.w"].flatten() for weights in (base, a, b))
        assert layer.distances[0] == pytest.approx(float((x - w).norm() / w.norm()), rel=1e-5)
        assert layer.cosines[0][1] == pytest.approx(float(torch.cosine_similarity(x - w, y - w, dim=0)), abs=1e-5)
        assert layer.conflicts == pytest.approx(float((((x - w) * (y - w)) < 0).float().mean()))
        assert layer.shares == pytest.approx((0.5, 0.25), abs=1e-4)


def test_the_page_needs_nothing_else_and_tells_no_path(outcome, tmp_path) -> None:
    page = render(outcome)
    assert not re.findall(r'(?:src|href)="(?!#)', page) and str(tmp_path) not in page
    assert page.count("<svg") == 3 and "width=device-width" in page


def test_a_report_is_not_overwritten_unasked(outcome, tmp_path) -> None:
    path = write_report(outcome, tmp_path / "r.html")
    with pytest.raises(lw.errors.OutputError, match="exists"):
        write_report(outcome, path)
    assert write_report(outcome, path, overwrite=True) == path
