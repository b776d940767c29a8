"""CKA against its definition with kernels, and what it must not see."""

from math import isnan

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loomweight.errors import BadParameter
from loomweight.evaluate import cka, similarity
from loomweight.weights import Weights


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_kernels(x: torch.Tensor, y: torch.Tensor, debiased: bool) -> float:
    """Equations as the papers write them, with n x n kernels."""
    k, l, n = x @ x.T, y @ y.T, len(x)  # noqa: E741

    def hsic(k: torch.Tensor, l: torch.Tensor) -> torch.Tensor:  # noqa: E741
        if not debiased:
            center = torch.eye(n).double() - 1 / n
            return torch.trace(k @ center @ l @ center) / (n - 1) ** 2
        k, l = k - torch.diag(k.diag()), l - torch.diag(l.diag())  # noqa: E741
        one = torch.ones(n, dtype=torch.float64)
        return (torch.trace(k @ l) + (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ k @ l @ one)) / (n * (n - 3))

    return float(hsic(k, l) / (hsic(k, k) * hsic(l, l)).sqrt())


@settings(max_examples=30)
@given(n=st.integers(5, 12), p=st.integers(1, 15), q=st.integers(1, 15), seed=st.integers(0, 999), debiased=st.booleans(), shift=st.floats(-3, 3))
def test_moments_give_what_kernels_give(n: int, p: int, q: int, seed: int, debiased: bool, shift: float) -> None:
    x, y = drawn(n, p, seed=seed) + shift, drawn(n, q, seed=seed + 1)
    y = y + x[:, :1] * 0.5
    assert cka(x, y, debiased=debiased) == pytest.approx(by_kernels(x, y, debiased), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("debiased", [False, True])
def test_however_the_examples_are_cut(debiased: bool) -> None:
    x, y = drawn(30, 5), drawn(30, 2, 2, seed=1)
    whole = similarity([{"a": x, "b": y}], [{"c": y, "d": x.square()}], debiased=debiased)
    cuts = [slice(0, 3), slice(3, 4), slice(4, 30)]
    parts = similarity([{"a": x[c], "b": y[c]} for c in cuts], [{"c": y[c], "d": x[c].square()} for c in cuts], debiased=debiased)
    assert torch.tensor(parts.values).flatten().tolist() == pytest.approx(torch.tensor(whole.values).flatten().tolist())
    assert (whole.rows, whole.columns) == (("a", "b"), ("c", "d"))
    assert whole.values[1][0] == pytest.approx(1)


def test_rotation_scale_and_shift_are_not_seen_but_stretching_is() -> None:
    x = drawn(20, 6)
    rotation = torch.linalg.qr(drawn(6, 6, seed=1))[0]
    assert cka(x, 3 * x @ rotation + 7) == pytest.approx(1)
    assert cka(x, x * torch.tensor([10.0, 1, 1, 1, 1, 1])) < 0.9
    assert cka(x[:, torch.randperm(6, generator=torch.Generator().manual_seed(0))], x) == pytest.approx(1)


def test_debiased_similarity_of_unrelated_features_is_near_0_where_the_other_is_near_1() -> None:
    """The reason for it: more features than examples make everything look alike."""
    x, y = drawn(20, 500), drawn(20, 500, seed=1)
    assert cka(x, y) > 0.9
    assert abs(cka(x, y, debiased=True)) < 0.2


def test_weight_sets_of_activations_and_a_drawing(tmp_path) -> None:
    acts = Weights.of({"layer.0": drawn(10, 3).float(), "layer.1": drawn(10, 2, 2, seed=1).float()})
    found = similarity([acts], [acts])
    assert found.values[0][0] == pytest.approx(1) and found.values[0][1] == pytest.approx(found.values[1][0])
    assert "layer.1" in found.draw(tmp_path / "cka.svg").read_text()


def test_constant_features_and_bad_calls() -> None:
    for constant in (torch.ones(5, 2), torch.full((5, 2), 0.1), torch.zeros(5, 3)):
        for debiased in (False, True):
            assert isnan(cka(constant, drawn(5, 2), debiased=debiased))
    x, y = drawn(50, 3), drawn(50, 4, seed=1) + drawn(50, 1)
    assert cka(x + 1e6, y - 1e6) == pytest.approx(cka(x, y), rel=1e-6)
    with pytest.raises(BadParameter, match=r"different numbers of examples, \[4, 5\]"):
        cka(drawn(4, 2), drawn(5, 2))
    with pytest.raises(BadParameter, match="at least 4 examples, found 3"):
        cka(drawn(3, 2), drawn(3, 2), debiased=True)
