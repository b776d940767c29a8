"""A fixed teacher: subnets learn from the targets and from a network that was trained before.

Paper: Once-for-All: Train One Network and Specialize it for Efficient Deployment (2019, https://arxiv.org/abs/1908.09791), progressive shrinking;
checked against mit-han-lab/once-for-all, elastic_nn/training/progressive_shrinking.py: loss = ratio * soft + hard, gradients of the subnets added up.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...errors import BadParameter
from ...weights.axes.find import arguments
from ..elastic import Elastic
from ..losses.soft_labels import SoftLabels
from ..step import backward, outputs_of
from .single_path import SinglePath


@dataclass(kw_only=True, eq=False)
class Taught(SinglePath):
    """g = sum over drawn subnets of grad [loss(outputs, targets) + ratio * soft(outputs, teacher(inputs))].

    Args:
        teacher: called with the inputs; a trained network, `net.export(net.max())` of the first phase.
        ratio: of the teacher's part.
        soft: (a subnet's outputs, the teacher's) -> mean loss.

    Raises:
        BadParameter: the ratio is not positive, so that the teacher would have no effect.

    >>> import torch
    >>> from loomweight.supernet import Shrinking, elastic
    >>> net = elastic(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)), "width 0 : 2 4 8", torch.zeros(1, 4))
    >>> teacher = net.export(net.max()).eval()
    >>> sampler = Shrinking([(0.5, {"width *": 2}), (1.0, {"width *": None})])
    >>> step = Taught(loss=torch.nn.functional.cross_entropy, sampler=sampler, teacher=teacher, subnets=2, total=10)
    >>> loss = step(net, torch.ones(3, 4), torch.tensor([0, 1, 1]))
    """

    teacher: Callable[..., Any]
    ratio: float = 1.0
    soft: Callable[[Any, Any], Tensor] = field(default_factory=SoftLabels)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.ratio > 0:
            raise BadParameter(f"the teacher's ratio is positive, found {self.ratio}; without a teacher, use SinglePath.")

    def run(self, net: Elastic, inputs: Any, targets: Any) -> list[float]:
        """See the class."""
        args, kwargs = arguments(inputs, None)
        with torch.no_grad():
            taught = self.teacher(*args, **kwargs)
        losses = []
        for _ in range(self.subnets):
            values = self.draw(net)
            outputs = outputs_of(net, values, inputs)
            losses.append(backward(self.loss(outputs, targets) + self.ratio * self.soft(outputs, taught), values))
            self.sampler.told(values, losses[-1], net)
        return losses
