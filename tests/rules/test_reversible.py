"""Reversible merging: Eckart-Young per position, every model back at full rank, error falling with the basis."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import loomweight as lw
from loomweight.errors import BadParameter
from loomweight.rules import errors_by_rank, reversible


def adapters(n: int, seed: int, rank: int = 4) -> list[lw.Weights]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"q.lora_A.weight": (rank, 6), "q.lora_B.weight": (5, rank), "q.scale": (3,)}
    return [lw.Weights.of({name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}) for _ in range(n)]


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 6), seed=st.integers(0, 1000))
def test_a_full_basis_gives_every_model_back(n: int, seed: int) -> None:
    models = adapters(n, seed)
    merged = reversible(models, basis=n)
    for task, model in enumerate(models):
        for name in model:
            torch.testing.assert_close(merged.reconstruct(task)[name], model[name], rtol=1e-4, atol=1e-5)


def test_each_position_is_the_best_low_rank_approximation() -> None:
    models = adapters(5, seed=1)
    merged = reversible(models, basis=2)
    for name, axis in (("q.lora_A.weight", 1), ("q.lora_B.weight", 0)):
        for position in range(models[0][name].shape[axis]):
            vectors = torch.stack([w[name].select(axis, position) for w in models])
            left, values, right = torch.linalg.svd(vectors)
            best = left[:, :2] @ torch.diag(values[:2]) @ right[:2]
            ours = torch.stack([merged.reconstruct(i)[name].select(axis, position) for i in range(5)])
            torch.testing.assert_close(ours, best, rtol=1e-4, atol=1e-5)


def test_the_error_by_rank_is_what_reconstruction_loses() -> None:
    models = adapters(4, seed=2)
    promised = errors_by_rank(models)
    assert promised == sorted(promised, reverse=True) and promised[-1] < 1e-12
    for basis, error in enumerate(promised, start=1):
        merged = reversible(models, basis=basis)
        lost = sum(lw.norm(merged.reconstruct(i) - model) ** 2 for i, model in enumerate(models))
        assert lost / sum(lw.norm(w) ** 2 for w in models) == pytest.approx(error, abs=1e-6)


def test_low_rank_factors_survive_where_their_mean_does_not() -> None:
    """The paper's point: averaging factors destroys the product, a basis of the models' own size keeps it."""
    models = adapters(3, seed=3)
    product = [w["q.lora_B.weight"] @ w["q.lora_A.weight"] for w in models]
    mean = lw.combine(models, lw.rules.Mean())
    averaged = mean["q.lora_B.weight"] @ mean["q.lora_A.weight"]
    merged = reversible(models, basis=2)
    for task, truth in enumerate(product):
        back = merged.reconstruct(task)
        ours = back["q.lora_B.weight"] @ back["q.lora_A.weight"]
        assert (ours - truth).norm() < 0.7 * (averaged - truth).norm()


def test_saved_and_loaded_it_still_reconstructs(tmp_path) -> None:
    models = adapters(3, seed=4)
    merged = reversible(models, basis=2)
    basis = lw.load(lw.save(merged.basis, tmp_path / "basis.safetensors"))
    again = lw.rules.Reversible(basis, lw.load(lw.save(merged.coefficients, tmp_path / "coefficients.safetensors")))
    for name in models[0]:
        torch.testing.assert_close(again.reconstruct(1)[name], merged.reconstruct(1)[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("basis", [0, 4])
def test_a_basis_outside_its_range_is_refused(basis: int) -> None:
    with pytest.raises(BadParameter, match=r"basis must lie in \[1, 3\] for 3 models, found"):
        reversible(adapters(3, seed=0), basis=basis)
