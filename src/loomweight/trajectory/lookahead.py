"""Lookahead: the optimizer runs ahead, slow weights follow part of the way, and it starts again from them.

Papers: Lookahead Optimizer: k steps forward, 1 step back (2019, https://arxiv.org/abs/1907.08610), algorithm 1; Ranger21: a synergistic
deep learning optimizer (2021, https://arxiv.org/abs/2106.13731), of which it is one of eight parts.

Original code: michaelrzhang/lookahead at commit c4fd85f, lookahead_pytorch.py.
We differ: k is counted in samples. A point that comes late, since k is no multiple of the batch, goes 1 - (1 - alpha)^(samples / k) of the
way; every k samples that is alpha. Adam's first moment is momentum too; the code knows that of SGD.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from ..errors import BadParameter
from .average import Average
from .clock import Clock
from .ema import half_life_of
from .exponential import Exponential
from .used import put_back

Momentum = Literal["keep", "reset", "pull back"]
_MOMENTA = ("momentum_buffer", "exp_avg")


class Lookahead(Average):
    """phi <- phi + alpha (theta - phi) every so many samples, then theta <- phi.

    `update()` after every optimizer step does it. The slow weights phi begin at the model as it is now; they are what is applied, saved and given
    as the value. Buffers of the model stay its own; in the value they are averaged with the same shares.

    Args:
        model, device: see `Track`.
        every: samples between two steps of the slow weights; the paper's k steps of so many samples. 5 or 10 steps are common.
        alpha: how far they go, between 0 and 1.
        momentum: what becomes of the optimizer's momentum when theta jumps back. It stays ("keep", the authors' default), begins anew at zero
            ("reset"), or is averaged as the weights are ("pull back"). The paper's appendix finds little difference.
        optimizer: whose momentum it is; needed for the latter two.

    Raises:
        BadParameter: every or alpha out of range; momentum without its optimizer.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> _ = model.weight.data.fill_(0.0)
    >>> slow = Lookahead(model, every=2, alpha=0.5)
    >>> for _ in range(4):  # 0, 1, 2 and back to 1, 2, 3 and back to 2
    ...     _ = model.weight.data.add_(1.0), slow.update()
    >>> model.weight.item()
    2.0
    """

    def __init__(
        self,
        model: nn.Module,
        every: float,
        alpha: float = 0.5,
        momentum: Momentum = "keep",
        optimizer: torch.optim.Optimizer | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        if not (0 < alpha < 1 and every > 0):
            raise BadParameter(f"Lookahead: alpha lies between 0 and 1, and every is a positive number of samples; found alpha={alpha}, every={every}.")
        if momentum not in get_args(Momentum) or (momentum != "keep" and optimizer is None):
            raise BadParameter(f"Lookahead: momentum is one of {', '.join(get_args(Momentum))}, all but the first with optimizer=...; found {momentum!r}.")
        super().__init__(model, Exponential(half_life_of(1 - alpha, every), from_start=True), Clock(every=every), device)
        self.momentum = momentum
        self.optimizer = optimizer
        self.slow_momenta: dict[str, Tensor] = {}

    def _take(self, samples: float) -> None:
        super()._take(samples)
        live = dict(self.model.named_parameters())
        put_back(live, {name: value for name, value in self._read().items() if name in live}, write=True)
        if self.momentum != "keep":
            self._turn_momenta(self.profile.rate(0.0, samples))

    def _turn_momenta(self, share: float) -> None:
        for name, fast in self._momenta().items():
            if self.momentum == "reset":
                fast.zero_()
            else:
                fast.copy_(self.slow_momenta.setdefault(name, torch.zeros_like(fast)).lerp_(fast, share))

    def _momenta(self) -> dict[str, Tensor]:
        states = {name: self.optimizer.state.get(parameter, {}) for name, parameter in self.model.named_parameters()} if self.optimizer else {}
        found = {f"{name} {word}": state.get(word) for name, state in states.items() for word in _MOMENTA}
        return {name: tensor for name, tensor in found.items() if tensor is not None}

    def _what(self) -> str:
        return f"Lookahead of {super()._what()}, momentum {self.momentum}"

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "slow_momenta": dict(self.slow_momenta)}

    def _load(self, state: Mapping[str, Any]) -> None:
        super()._load(state)
        self.slow_momenta = {name: tensor.clone() for name, tensor in state["slow_momenta"].items()}
