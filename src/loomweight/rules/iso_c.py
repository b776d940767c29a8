"""Iso-C: the sum of the task vectors with all its singular values made equal.

Paper: No Task Left Behind: Isotropic Model Merging with Common and Task-Specific Subspaces (2025,
https://arxiv.org/abs/2502.04959), algorithm 1. Original code: https://github.com/danielm1405/iso-merging at d34010af.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..shapes import Float
from .whole import Whole


@dataclass(frozen=True)
class IsoC(Whole):
    """On differences D_i of two axes: sum_i D_i = U S V^T, result = mean(S) U V^T. Others are averaged, as in the authors' code.

    A direction whose singular value is zero to working precision has no direction to restore and stays out; we differ there
    from the authors' code, which gives it an arbitrary one.

    >>> merged = IsoC()(torch.stack([torch.diag(torch.tensor([3.0, 0.0])), torch.diag(torch.tensor([0.0, 1.0]))]))
    >>> torch.round(merged, decimals=4)
    tensor([[2., 0.],
            [0., 2.]])
    """

    def merge(self, name: str, stack: Float[Tensor, "n *shape"]) -> Float[Tensor, "*shape"]:
        """Merge matrices; average the rest."""
        return self(stack) if stack.ndim == 3 else stack.mean(0)

    def __call__(self, stack: Float[Tensor, "n a b"]) -> Float[Tensor, "a b"]:
        """The merged difference of n matrices."""
        left, values, right = torch.linalg.svd(stack.sum(0), full_matrices=False)
        real = values > values.max() * torch.finfo(values.dtype).eps * max(stack.shape[1:])
        return (left * (values.mean() * real)) @ right
