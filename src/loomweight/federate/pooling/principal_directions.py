"""Updates are rebuilt of the directions that most of them share.

Paper: Tackling Data Heterogeneity in Federated Learning via Loss Decomposition (2024, https://arxiv.org/abs/2408.12300).

Read with the authors' code (Zeng-Shuang/FedLD, 9440494), which this follows tensor by tensor. There the first round is a plain mean, for want of a
history that is not looked at later; and each direction is turned to where most clients go, which changes nothing, since a projection does not depend on it.
Neither is done here. The client's half of the method is `MarginControl`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import BadParameter
from ..plain import Plain, Tensors
from .aggregate import Aggregate, Book, kept
from .pool import stepped


@dataclass(frozen=True)
class PrincipalDirections(Aggregate):
    """w <- w + rate / n sum_i |g_i| sum_j (l_j / sum l) sign(<g_i, u_j>) u_j, tensor by tensor.

    u_j are the unit eigenvectors of 1/n sum_i g_i g_i^T with the largest eigenvalues l_j: the principal directions of the clients' updates g_i.
    All of it follows from the n x n inner products, in float64.

    Args:
        share: of the directions that are kept, at least one.
        rate: the server's learning rate.

    Raises:
        BadParameter: a share outside (0, 1].

    >>> one = PrincipalDirections(share=0.5)
    >>> one.coefficients(torch.tensor([[4.0, 4.0], [4.0, 4.0]], dtype=torch.float64))  # both updates are the same: so is what comes of them
    tensor([0.5000, 0.5000], dtype=torch.float64)
    """

    share: float = 0.8
    rate: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise BadParameter(f"PrincipalDirections: share is in (0, 1], found {self.share}.")

    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        """A step along the rebuilt updates."""
        replies = kept(held)
        change = {name: self.rebuilt(torch.stack([reply.update[name] for reply in replies])) for name in replies[0].update}
        return stepped(weights, change, self.rate), state

    def rebuilt(self, updates: Tensor) -> Tensor:
        """Of updates [n, ...] of one tensor; a single number is averaged."""
        rows = updates.double().flatten(1)
        found = rows.mean(0) if rows.shape[1] == 1 else self.coefficients(rows @ rows.T) @ rows
        return found.view(updates.shape[1:]).to(torch.promote_types(updates.dtype, torch.float32))

    def coefficients(self, gram: Tensor) -> Tensor:
        """How much of each update there is in the result, from inner products [n, n]."""
        n = len(gram)
        values, vectors = torch.linalg.eigh(gram / n)
        values = values.clamp(min=0).flip(0)
        real = values > values[0] * 1e-12  # others are rounding, and have no direction
        part, kept_vectors = (values / values.sum().clamp(min=1e-300))[real], vectors.flip(1)[:, real]
        first = max(int(n * self.share), 1)
        # u_j = sum_l e_lj g_l / sqrt(n l_j), and <g_i, u_j> = sqrt(n l_j) e_ij
        length = (n * values[real]).sqrt()
        towards = gram.diagonal().clamp(min=0).sqrt() @ torch.where(kept_vectors.abs() > 1e-9, kept_vectors.sign(), 0.0) / n
        return (kept_vectors * (part * towards / length.clamp(min=1e-300)))[:, :first].sum(1)
