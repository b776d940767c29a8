"""The client's half of SCALLION and SCAFCOM: one compressible increment is sent.

Paper: Stochastic Controlled Averaging for Federated Learning with Communication Compression (2023, https://arxiv.org/abs/2308.08165), algorithms 1 and 2.

No code of the authors was found. We differ: the momentum and the control variates begin at 0, and where clients make different numbers of steps, each divides
by its own and the server multiplies by the median.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from ...errors import BadParameter
from ..plain import Tensors
from .client_momentum import SPAN, count_span
from .scaffold import zeros_of
from .term import Ended, Term

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class StochasticControlled(Term):
    """Local gradients get + c - c_i. With m_i the mean of the uncorrected ones, v_i <- (1 - momentum) v_i + momentum m_i is kept; what is sent for an update
    is - scale (v_i - c_i), through the message; and c_i <- c_i + what the server sees of scale (v_i - c_i).

    It needs `ControlledPool` at the server: `scallion` and `scafcom` put the two into a strategy.

    Part of: scallion.

    Args:
        scale: alpha of the paper, in (0, 1]: how much of an increment is sent.
        momentum: beta of the paper, in (0, 1]; 1 has none.

    Raises:
        BadParameter: a number out of its range; while training, a tensor that is pooled and has no gradient.
    """

    scale: float = 1.0
    momentum: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.scale <= 1 or not 0 < self.momentum <= 1:
            raise BadParameter(f"StochasticControlled: scale and momentum are in (0, 1], found {self.scale} and {self.momentum}.")

    def start(self, weights: Tensors) -> Tensors:
        """c = 0."""
        return zeros_of(weights)

    def pool(self, shared: Tensors, ended: Ended) -> Tensors:
        """The server's control variates: the aggregate keeps them."""
        return {**shared, **ended.pooling.get("control", {})}

    def begin(self, work: "Work") -> None:
        """c - c_i."""
        names = [name for name, how in work.how.items() if how == "pool"]
        buffers = [name for name in names if name not in work.params]
        if buffers:
            raise BadParameter(
                f"tensor {buffers[0]!r} is pooled and not trained, so it has no control variate; say tensors={{{buffers[0]!r}: 'mean'}}, or 'local'."
            )
        common, own = work.shared_of(self), work.memory_of(self).get("control", {})
        scratch = work.scratch_of(self)
        scratch["own"] = {name: own.get(name, torch.zeros_like(common[name])) for name in names}
        scratch["shift"] = {name: common[name] - scratch["own"][name] for name in names}

    def gradient(self, work: "Work") -> None:
        """Corrected."""
        for name, shift in work.scratch_of(self)["shift"].items():
            param = work.params[name]
            param.grad = shift.to(param.dtype) if param.grad is None else param.grad + shift.to(param.dtype)

    def stepped(self, work: "Work") -> None:
        """Count the learning rates."""
        count_span(self, work)

    def finish(self, work: "Work") -> Tensors:
        """The increment takes the place of the update."""
        scratch, memory = work.scratch_of(self), work.memory_of(self)
        span, before, kept = scratch.get(SPAN, 0.0), memory.get("momentum", {}), {}
        for name, own in scratch["own"].items():
            mean = -work.update[name].to(own.dtype) / span - scratch["shift"][name] if span else own
            kept[name] = torch.lerp(before.get(name, torch.zeros_like(mean)), mean, self.momentum) if self.momentum < 1 else mean
            work.update[name] = (-self.scale * (kept[name] - own)).to(work.update[name].dtype)
        if self.momentum < 1:
            memory["momentum"] = kept
        return {SPAN: torch.tensor(span, dtype=torch.float64)}

    def sent(self, work: "Work", seen: Tensors) -> None:
        """c_i moves by what the server sees."""
        own = work.scratch_of(self)["own"]
        work.memory_of(self)["control"] = {name: control - seen[name].to(control.dtype) for name, control in own.items()}
