"""Delayed shrinking: the largest subnet alone at first, then the others too, with learning rates that rise.

Paper: DεpS: Delayed ε-Shrinking for Faster Once-For-All Training (2024, https://arxiv.org/abs/2407.06167): the warm-up of the full model, the warm-up of
in-place distillation, and ε-shrinking.

We differ: a subnet's learning rate is the factor of its gradients. With SGD that is the same; where an optimizer divides by the size of gradients
(Adam), it is the subnet's share in a step. The factor rises linearly; the authors' code could not be read.
"""

from dataclasses import dataclass
from typing import Any

from ...errors import BadParameter
from ..elastic import Elastic
from ..step import backward, outputs_of
from .sandwich import Sandwich


@dataclass(kw_only=True, eq=False)
class Delayed(Sandwich):
    """g = grad loss(largest, targets) + epsilon(done) * sum over the others of grad soft(its outputs, the largest's outputs).

    epsilon is 0 before `start`, where the others do not run at all; then it rises linearly from `low`, and is 1 from `full` on.

    Args:
        start: the share of the training after which shrinking begins; about a half.
        full: the share of the training after which subnets learn as fast as the largest.
        low: epsilon at `start`.

    Raises:
        BadParameter: not 0 < start < full <= 1, or low is not in (0, 1).

    >>> import torch
    >>> from loomweight.supernet import Uniform
    >>> step = Delayed(loss=torch.nn.functional.cross_entropy, sampler=Uniform(), total=100, start=0.5, full=0.75, low=0.2)
    >>> factors = []
    >>> for step.count in (0, 49, 50, 60, 75, 99):
    ...     factors.append(round(step.scale, 2))
    >>> factors
    [0.0, 0.0, 0.2, 0.52, 1.0, 1.0]
    """

    start: float = 0.5
    full: float = 0.75
    low: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 < self.start < self.full <= 1 and 0 < self.low < 1):
            raise BadParameter(f"0 < start < full <= 1 and 0 < low < 1, found start={self.start}, full={self.full}, low={self.low}.")

    @property
    def uses_done(self) -> bool:
        """Always."""
        return True

    @property
    def scale(self) -> float:
        """See the class."""
        if self.done < self.start:
            return 0.0
        return min(1.0, self.low + (1 - self.low) * (self.done - self.start) / (self.full - self.start))

    def run(self, net: Elastic, inputs: Any, targets: Any) -> list[float]:
        """See the class."""
        if self.scale > 0:
            return super().run(net, inputs, targets)
        largest = net.max()
        return [backward(self.loss(outputs_of(net, largest, inputs), targets), largest)]
