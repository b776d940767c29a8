"""A weight with a sum of low rank beside it.

Papers: LoRA: Low-Rank Adaptation of Large Language Models (2021, https://arxiv.org/abs/2106.09685), equation 3;
Low-Rank Adapters Meet Neural Architecture Search for LLM Compression (2025, https://arxiv.org/abs/2501.16372), SparsePEFT, for `sparse`.
"""

import torch
from torch import Tensor, nn

from ..errors import BadParameter


class LowRank(nn.Module):
    """used = weight + scale up down, with up = 0 at first, so that nothing changes until it is trained.

    With `sparse`, the sum is taken only where the weight is not zero, so that a pruned weight stays pruned when it is folded.

    Args:
        weight: (out, in); kept and frozen.
        rank: rows of `down` (rank, in), columns of `up` (out, rank).
        scale: factor of the sum.
        sparse: keep the zeros of the weight.
        seed: of the random values of `down`: normal, standard deviation 1 / sqrt(in).

    Raises:
        BadParameter: the weight is no matrix, or the rank is below 1.

    >>> low = LowRank(nn.Parameter(torch.eye(3)), rank=1)
    >>> torch.equal(low(), torch.eye(3)), [name for name, p in low.named_parameters() if p.requires_grad]
    (True, ['down', 'up'])
    """

    def __init__(self, weight: nn.Parameter, rank: int, scale: float = 1.0, *, sparse: bool = False, seed: int = 0) -> None:
        super().__init__()
        if weight.ndim != 2 or rank < 1:
            raise BadParameter(f"a low-rank sum needs a matrix and a rank of at least 1, found shape {tuple(weight.shape)} and rank {rank}.")
        out, into = weight.shape
        draw = torch.randn(rank, into, generator=torch.Generator().manual_seed(seed)) / into**0.5
        self.weight, self.scale, self.sparse = weight.requires_grad_(False), scale, sparse
        self.down, self.up = nn.Parameter(draw.to(weight)), nn.Parameter(weight.new_zeros(out, rank))

    def forward(self) -> Tensor:
        """(out, in)."""
        if self.sparse:
            return self.weight + self.scale * (self.up @ self.down) * (self.weight != 0)
        return torch.addmm(self.weight, self.up, self.down, alpha=self.scale)
