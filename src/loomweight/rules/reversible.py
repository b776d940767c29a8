"""Reversible merging: instead of one model, a small basis out of which each model can be had again.

Paper: Towards Reversible Model Merging For Low-rank Weights (2025, https://arxiv.org/abs/2510.14163), section 4.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ..errors import BadParameter, TooFewSets, unknown
from ..shapes import Float
from ..weights import Block, Spec, Weights
from ..weights.algebra import agree, refuse_integers, working
from ..weights.names import matches
from .sets import guarded

# Q = positions, N = models, R = entries of a vector, B = basis vectors


@dataclass(frozen=True)
class Reversible:
    """What `reversible` returns: `basis[name]` is (B, *shape), `coefficients[name]` is (positions, N, B).

    Saved as two weight sets (`lw.save`), they are all that `reconstruct` needs.

    >>> merged = reversible([Weights.of({"w": torch.eye(2)}), Weights.of({"w": 2 * torch.eye(2)})], basis=1)
    >>> merged.models, merged.basis.spec["w"].shape
    (2, (1, 2, 2))
    """

    basis: Weights
    coefficients: Weights
    columns: tuple[str, ...] = ("*lora_A*",)

    @property
    def models(self) -> int:
        """How many models the basis stands for."""
        return next(iter(self.coefficients.spec.values())).shape[1]

    def reconstruct(self, task: int) -> Weights:
        """Model `task` again, lazily: its vectors as combinations of the basis vectors."""
        if not 0 <= task < self.models:
            raise unknown("task", str(task), map(str, range(self.models)))

        def open_(name: str) -> Block:
            spec = self.basis.spec[name]
            across = _across(name, self.columns)
            basis_QBR = across(self.basis[name].to(spec.work))
            coefficients_QB = self.coefficients[name][:, task].to(spec.work)
            vectors_QR = torch.einsum("qb,qbr->qr", coefficients_QB, basis_QBR)
            flat = (vectors_QR.T if _transposed(name, self.columns) else vectors_QR).reshape(-1)
            return lambda lo, hi: flat[lo:hi]

        spec = {name: Spec(s.shape[1:], s.dtype) for name, s in self.basis.spec.items()}
        return Weights(spec, open_, origin=("reconstruct", self.basis, self.coefficients, self.columns, task), label=f"task {task}")


def reversible(sets: Sequence[Weights], basis: int, columns: tuple[str, ...] = ("*lora_A*",)) -> Reversible:
    """The best basis of `basis` vectors for every position, and each model's coefficients in it.

    A position is a row of a tensor (a vector of a LoRA's B, or any row of a full matrix), or a column where the name matches
    `columns` (a LoRA's A is stored rank first). With x_1 .. x_N the models' vectors there and X^T X = V L V^T, the basis is
    X V_B and the coefficients are V_B: the closed form that makes the squared error least (Eckart and Young). With
    `basis` = N every model comes back exactly. The paper stacks task vectors: pass differences from the base where the
    models are whole ones.

    Args:
        sets: N models, or their adapters' factors, with the same names and shapes.
        basis: B, from 1 to N.
        columns: name patterns of tensors whose vectors are columns.

    Raises:
        BadParameter: B outside [1, N].
        NamesDiffer, ShapesDiffer: the models do not agree.

    >>> two = [Weights.of({"w": torch.tensor([[1.0, 2.0]])}), Weights.of({"w": torch.tensor([[2.0, 4.0]])})]
    >>> reversible(two, basis=1).reconstruct(1)["w"]  # parallel vectors need one basis vector
    tensor([[2., 4.]])
    """
    if not sets:
        raise TooFewSets("reversible merging needs at least one model.")
    if not 1 <= basis <= len(sets):
        raise BadParameter(f"basis must lie in [1, {len(sets)}] for {len(sets)} models, found {basis}.")
    for other in sets[1:]:
        agree(sets[0], other)
    refuse_integers(sets[0])
    members = [guarded(w) for w in sets]
    names = members[0].physical
    vectors = {name: members[0].spec[name] for name in names}
    solve = lru_cache(maxsize=2)(lambda name: _decompose(members, name, basis, columns))
    made = ("reversible", basis, columns, *sets)
    spaces = Weights(
        {name: Spec((basis, *s.shape), s.dtype) for name, s in vectors.items()},
        lambda name: _flat(_stored(solve(name)[0], name, columns)),
        origin=("basis", *made),
    )
    places = {name: s.numel // max(1, s.shape[0 if _transposed(name, columns) else -1] if s.shape else 1) for name, s in vectors.items()}
    coefficients = Weights(
        {name: Spec((places[name], len(sets), basis), s.work) for name, s in vectors.items()},
        lambda name: _flat(solve(name)[1]),
        origin=("coefficients", *made),
    )
    return Reversible(spaces, coefficients, columns)


def errors_by_rank(sets: Sequence[Weights], columns: tuple[str, ...] = ("*lora_A*",)) -> list[float]:
    """Relative squared error |X - X_B|^2 / |X|^2 over all tensors, for a basis of 1, 2, .. N vectors; the last is 0.

    Part of: reversible.

    >>> errors_by_rank([Weights.of({"w": torch.tensor([[1.0, 0.0]])}), Weights.of({"w": torch.tensor([[0.0, 1.0]])})])
    [0.5, 0.0]
    """
    lost, total = torch.zeros(len(sets), dtype=torch.float64), 0.0
    for name in sets[0].physical:
        energies = torch.linalg.eigvalsh(_grams(_stacked([guarded(w) for w in sets], name, columns))).clamp(min=0).flip(-1).sum(0)
        total += float(energies.sum())
        lost += energies.sum() - energies.cumsum(0)
    return [max(0.0, float(x)) / total if total else 0.0 for x in lost]


def _decompose(members: Sequence[Weights], name: str, basis: int, columns: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """(basis_QBR, coefficients_QNB) of one tensor."""
    stack_QNR = _stacked(members, name, columns)
    vectors = torch.linalg.eigh(_grams(stack_QNR)).eigenvectors.flip(-1)[..., :basis]
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    chosen_QNB = vectors * torch.where(largest < 0, -1.0, 1.0)  # a sign of our choosing, so that the result repeats
    return torch.einsum("qnb,qnr->qbr", chosen_QNB, stack_QNR.double()), chosen_QNB


def _grams(stack_QNR: Float[Tensor, "q n r"]) -> Float[Tensor, "q n n"]:
    wide = stack_QNR.double()
    return wide @ wide.transpose(1, 2)


def _stacked(members: Sequence[Weights], name: str, columns: tuple[str, ...]) -> Float[Tensor, "q n r"]:
    spec = members[0].spec[name]
    tensors = [working(weights, name)(0, spec.numel).reshape(spec.shape) for weights in members]
    return _across(name, columns)(torch.stack(tensors))


def _across(name: str, columns: tuple[str, ...]) -> Callable[[Tensor], Tensor]:
    """(N, *shape) -> (positions, N, entries of a vector)."""

    def across(stack: Tensor) -> Tensor:
        rows = stack.reshape(len(stack), 1, -1) if stack.ndim < 3 else stack.reshape(len(stack), -1, stack.shape[-1])
        if _transposed(name, columns):
            rows = stack.reshape(len(stack), stack.shape[1] if stack.ndim > 1 else 1, -1).transpose(1, 2)
        return rows.transpose(0, 1)

    return across


def _stored(basis_QBR: Tensor, name: str, columns: tuple[str, ...]) -> Tensor:
    by_basis = basis_QBR.transpose(0, 1)
    return by_basis.transpose(1, 2) if _transposed(name, columns) else by_basis


def _transposed(name: str, columns: tuple[str, ...]) -> bool:
    return any(matches(pattern, name) for pattern in columns)


def _flat(tensor: Tensor) -> Block:
    entries = tensor.reshape(-1)
    return lambda lo, hi: entries[lo:hi]
