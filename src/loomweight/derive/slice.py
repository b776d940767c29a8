"""A part of a larger stored tensor."""

from collections.abc import Sequence

from torch import Tensor, nn


class Slice(nn.Module):
    """used = stored[begin_1:end_1, begin_2:end_2, ...]; the rest of the stored tensor waits and gets no gradient.

    Args:
        stored: the whole tensor.
        ends: for each axis (from the first) how many entries, or (begin, end).

    >>> import torch
    >>> part = Slice(nn.Parameter(torch.arange(6.0).view(2, 3)), (1, (1, 3)))
    >>> part().tolist()
    [[1.0, 2.0]]
    """

    def __init__(self, stored: nn.Parameter, ends: Sequence[int | tuple[int, int]]) -> None:
        super().__init__()
        self.stored = stored
        self.ends = tuple((0, end) if isinstance(end, int) else end for end in ends)

    def forward(self) -> Tensor:
        """The part."""
        return self.stored[tuple(slice(*end) for end in self.ends)]
