"""From the encoding of a configuration to the coefficients of experts."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..elastic import Elastic


class Code:
    """The encoding of the chosen configuration, computed when it is first asked for."""

    def __init__(self, net: Elastic) -> None:
        self._net = net
        self._known: tuple[object, Tensor] | None = None

    def __call__(self) -> Tensor:
        key = tuple(self._net.active.values())
        if self._known is None or self._known[0] != key:
            self._known = key, torch.from_numpy(self._net.space.encode(self._net.active))
        return self._known[1]


class Router(nn.Module):
    """softmax(W2 relu(W1 code + b1) + b2): (experts,), or (rows, experts).

    Products are written as sums, which counters of operations leave out: an exported subnet has no router.

    Args:
        code: the encoding.
        sizes: length of the code, hidden units, experts.
        rows: 0 for one set of coefficients.
        seed: of the initial values, uniform within 1 / sqrt(inputs).
    """

    def __init__(self, code: Callable[[], Tensor], sizes: tuple[int, int, int], rows: int, seed: int) -> None:
        super().__init__()
        (length, hidden, experts), draw = sizes, torch.Generator().manual_seed(seed)
        self.code, self.rows, self.experts = code, rows, experts
        self.first, self.first_bias = (_uniform(shape, length, draw) for shape in ((hidden, length), (hidden,)))
        self.second, self.second_bias = (_uniform(shape, hidden, draw) for shape in ((max(rows, 1) * experts, hidden), (max(rows, 1) * experts,)))

    def forward(self) -> Tensor:
        """The coefficients."""
        code = self.code().to(self.first)
        hidden = ((self.first * code).sum(1) + self.first_bias).relu()
        scores = (self.second * hidden).sum(1) + self.second_bias
        return (scores.view(self.rows, self.experts) if self.rows else scores).softmax(-1)


class Rows(nn.Module):
    """The coefficients of the rows that are used; `used` is an entry that a slot puts in place, None for all."""

    def __init__(self, router: Router) -> None:
        super().__init__()
        self.router = router
        self.used: Tensor | None = None

    def forward(self) -> Tensor:
        """(rows in use, experts), or (experts,)."""
        coefficients = self.router.forward()
        return coefficients if self.used is None else coefficients[self.used]


def _uniform(shape: tuple[int, ...], inputs: int, draw: torch.Generator) -> nn.Parameter:
    return nn.Parameter((torch.rand(shape, generator=draw) * 2 - 1) / max(inputs, 1) ** 0.5)
