"""Model Stock: the paper's claim and ratios, its grains, and that the short way around a base is the long way."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from loomweight import Weights
from loomweight.edits import Scale
from loomweight.errors import TooFewSets
from loomweight.rules import Around, GeometricMedian, ModelStock, Per, Rule, Weighing, combine, model_stock

from .vectors import combined, counted, joined, states


def weights(row: Tensor) -> Weights:
    return Weights.of(states(row[None])[0])


def ratio(rows: Tensor) -> float:
    """t by the paper: n cos / (1 + (n - 1) cos), from explicit vectors."""
    units = rows.double() / rows.double().norm(dim=1, keepdim=True)
    n = len(rows)
    cosine = float((units @ units.T).sum() - n) / (n * (n - 1))
    return n * cosine / (1 + (n - 1) * cosine)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 6))
def test_it_interpolates_by_the_papers_ratio(seed: int, n: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    base, shared = torch.randn(30, generator=generator), torch.randn(30, generator=generator)
    rows = base + shared + 0.7 * torch.randn(n, 30, generator=generator)
    t = ratio(rows - base)
    expected = base + t * (rows - base).mean(0)
    torch.testing.assert_close(combined(rows, model_stock(weights(base), by="model")), expected, rtol=1e-4, atol=1e-5)


def test_it_comes_nearest_to_the_centre_of_the_fine_tunes() -> None:
    """The paper's claim: fine-tunes lie on a thin shell around a centre, and t puts two of them closest to it on the line from the anchor."""
    generator = torch.Generator().manual_seed(0)
    centre = 0.1 * torch.randn(20_000, generator=generator)
    rows = centre + 0.1 * torch.randn(2, 20_000, generator=generator)
    t = ratio(rows)
    missed = [float((s * rows.mean(0) - centre).norm()) for s in (t - 0.05, t, t + 0.05, 1.0)]
    assert missed[1] == min(missed)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([1.0, 0.3]))
@pytest.mark.parametrize("rule", [ModelStock(), GeometricMedian()], ids=repr)
def test_the_short_way_around_a_base_is_the_long_way(rule: Weighing, seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(12, generator=generator)
    rows = base + 1e-3 * torch.randn(4, 12, generator=generator)
    short = combined(rows, Around(weights(base), rule, scale=scale))
    long = combined(rows, Around(weights(base), rule, edits=(Scale(1.0),), scale=scale))
    torch.testing.assert_close(short, long, rtol=1e-6, atol=1e-8)


def grains() -> list[tuple[str, Rule]]:
    base = Weights.of({f"layers.{i}.{part}": torch.zeros(2, 3) for i in range(2) for part in "ab"})
    return [(by, model_stock(base, by=by)) for by in ("row", "tensor", "layer", "model")]  # type: ignore[arg-type]


@pytest.mark.parametrize(("by", "rule"), grains(), ids=[by for by, _ in grains()])
def test_an_angle_is_measured_over_rows_tensors_layers_or_all(by: str, rule: Rule) -> None:
    generator = torch.Generator().manual_seed(3)
    shared = torch.randn(4, 2, 3, generator=generator)
    sets = shared + torch.randn(2, 4, 2, 3, generator=generator)
    names = [f"layers.{i}.{part}" for i in range(2) for part in "ab"]
    out = combine([dict(zip(names, s, strict=True)) for s in sets], rule)
    grouped = sets.reshape(2, {"row": 8, "tensor": 4, "layer": 2, "model": 1}[by], -1)
    expected = torch.stack([min(max(ratio(grouped[:, g]), 0), 1) * grouped[:, g].mean(0) for g in range(grouped.shape[1])])
    torch.testing.assert_close(joined(out), expected.flatten(), rtol=1e-5, atol=1e-6)


def test_one_set_has_no_angle() -> None:
    with pytest.raises(TooFewSets, match="needs at least 2 weight sets, got 1"):
        ModelStock().check(1)


def test_base_and_sets_are_read_at_most_twice() -> None:
    rows = torch.randn(4, 900, generator=torch.Generator().manual_seed(0))
    watched = [counted(weights(row)) for row in rows]
    out = combine([w for w, _ in watched[1:]], Per("tensor", Around(watched[0][0], ModelStock())))
    assert joined(out).isfinite().all()
    assert [sum(reads.values()) / 900 for _, reads in watched] == [2, 2, 2, 2]
