"""Progressive depth: a generator from coarse to fine runs its first scales at full depth and its last ones with fewer blocks.

Paper: Progressive Supernet Training for Efficient Visual Autoregressive Modeling (2025, https://arxiv.org/abs/2511.16546): blocks at even distances,
early scales at full depth, and a share of subnet steps that grows from 8 of 10 to all (three phases).

We differ: where the phases begin, and the linear growth between, are arguments with our defaults; the authors' code could not be read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import BadParameter
from ..elastic import Elastic, Values
from ..step import Step, backward, outputs_of

#: of one batch: (inputs, targets) of each scale, coarse to fine, the inputs holding what earlier scales gave
Scales = Callable[[Any, Any], Sequence[tuple[Any, Any]]]


@dataclass(kw_only=True, eq=False)
class ProgressiveDepth(Step):
    """g = sum over scales k of grad loss(net(c_k), inputs_k, targets_k) / scales; c_k is the largest subnet for k < early, else the drawn one.

    A step is one of the full network (every scale at full depth) or, with probability `share(done)`, one of a drawn subnet.
    Depth is best declared with `spread`: blocks at even distances.

    Args:
        scales: splits a batch, as training with the true coarser scales does.
        early: how many scales always run at full depth.
        shares: of subnet steps in the first and in the last phase.
        phases: the shares of the training where the first phase ends and the last one begins; between them the share grows linearly.

    Raises:
        BadParameter: a number is out of its range.

    >>> import torch
    >>> from loomweight.supernet import Uniform
    >>> step = ProgressiveDepth(loss=torch.nn.functional.mse_loss, sampler=Uniform(), total=10, scales=lambda x, y: [(x, y)], early=1)
    >>> shares = []
    >>> for step.count in (0, 3, 5, 8):
    ...     shares.append(round(step.share, 2))
    >>> shares
    [0.8, 0.8, 0.9, 1.0]
    """

    scales: Scales
    early: int
    shares: tuple[float, float] = (0.8, 1.0)
    phases: tuple[float, float] = (0.3, 0.7)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.early < 1:
            raise BadParameter(f"at least the first scale runs at full depth, found early={self.early}; without such scales, use SinglePath.")
        if not (0 <= self.shares[0] <= self.shares[1] <= 1 and 0 <= self.phases[0] < self.phases[1] <= 1):
            raise BadParameter(f"shares and phases each ascend within [0, 1], found shares={self.shares}, phases={self.phases}.")
        if self.sampler.uses_gradients:
            raise BadParameter(f"{self.sampler!r} looks at the gradients of one subnet, but scales of several run in a step.")

    @property
    def uses_done(self) -> bool:
        """Always."""
        return True

    @property
    def share(self) -> float:
        """Of subnet steps, now."""
        (low, high), (begin, end) = self.shares, self.phases
        return low + (high - low) * min(1.0, max(0.0, (self.done - begin) / (end - begin)))

    def run(self, net: Elastic, inputs: Any, targets: Any) -> list[float]:
        """See the class."""
        drawn = self.draw(net) if self.numbers.random() < self.share else None
        parts = self.scales(inputs, targets)
        if self.early >= len(parts):
            raise BadParameter(f"early={self.early} of {len(parts)} scales run at full depth: no scale is left for a subnet.")
        losses = []
        for number, (seen, wanted) in enumerate(parts):
            values = at_scale(net, drawn or net.max(), number, self.early)
            losses.append(backward(self.loss(outputs_of(net, values, seen), wanted), values, 1 / len(parts)))
        if drawn is not None:
            self.sampler.told(drawn, sum(losses) / len(losses), net)
        return losses


def at_scale(net: Elastic, values: Values, scale: int, early: int) -> Values:
    """The configuration that runs a scale: the largest one for scales below `early`, else the given one. For generating as for training.

    Part of: progressive_depth.

    >>> import torch
    >>> from loomweight.supernet import elastic
    >>> net = elastic(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)), "width 0 : 2 8", torch.zeros(1, 4))
    >>> [at_scale(net, net.min(), scale, early=2)["width 0"] for scale in range(4)]
    [8, 8, 2, 2]
    """
    return net.max() if scale < early else values
