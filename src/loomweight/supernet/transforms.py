"""Kernels of smaller sizes as learned transforms of larger ones.

Paper: Once-for-All: Train One Network and Specialize it for Efficient Deployment (2019, https://arxiv.org/abs/1908.09791), section 3.3.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class Transforms(nn.Module):
    """From the largest size down: the middle of the kernel, flattened, times a matrix of its own for each step; identities at first.

    The matrices are shared by all channels of a layer.

    Args:
        how: a derivation of the kernel, its reach that of `reaches`.
        sizes: odd, ascending.
    """

    def __init__(self, how: nn.Module, sizes: Sequence[int]) -> None:
        super().__init__()
        self.how, self.size = how, sizes[-1]
        self.steps = list(pairwise(reversed(sizes)))
        sample = how.forward()
        self.axes = sample.ndim - 2
        for larger, smaller in self.steps:
            self.register_parameter(f"{larger}to{smaller}", nn.Parameter(torch.eye(smaller**self.axes, dtype=sample.dtype, device=sample.device)))

    def forward(self) -> Tensor:
        """(out, in, size, ...)."""
        kernel = self.how.forward()
        for larger, smaller in self.steps:
            if larger > self.size:
                kernel = middle(kernel, smaller)
                kernel = (kernel.flatten(2) @ self.get_parameter(f"{larger}to{smaller}").t()).view(kernel.shape)
        return kernel


def middle(kernel: Tensor, size: int) -> Tensor:
    """(out, in, size, ...) of (out, in, at least size, ...)."""
    for axis in range(2, kernel.ndim):
        kernel = kernel.narrow(axis, (kernel.shape[axis] - size) // 2, size)
    return kernel


def reaches(sizes: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """How much of the stored kernel each size is made from: all smaller ones from the second largest, whose matrix mixes its entries.

    >>> reaches((3, 5, 7))
    ((3, 5), (5, 5), (7, 7))
    """
    return tuple((size, size if size == sizes[-1] else sizes[-2]) for size in sizes)
