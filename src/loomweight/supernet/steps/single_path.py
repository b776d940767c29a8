"""Single path: one subnet a batch.

Paper: Single Path One-Shot Neural Architecture Search with Uniform Sampling (2019, https://arxiv.org/abs/1904.00420).

With `subnets` above 1, that many drawn ones share a batch and their gradients add up, as Once-for-All trains.
"""

from dataclasses import dataclass
from typing import Any

from ...errors import BadParameter
from ..elastic import Elastic
from ..step import Step, backward, outputs_of


@dataclass(kw_only=True, eq=False)
class SinglePath(Step):
    """Gradients of `subnets` drawn subnets on one batch, added up: g = sum_i grad loss(net(values_i), targets).

    Args:
        subnets: how many are drawn.

    Raises:
        BadParameter: none is drawn, or the sampler needs each subnet's own gradients and there are several.

    >>> import torch
    >>> from loomweight.supernet import SubnetOptimizer, Uniform, elastic
    >>> net = elastic(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)), "width 0 : 2 4 8", torch.zeros(1, 4))
    >>> step = SinglePath(loss=torch.nn.functional.cross_entropy, sampler=Uniform(), seed=0)
    >>> optimizer = SubnetOptimizer(net, torch.optim.SGD(net.parameters(), lr=0.1))
    >>> loss = step(net, torch.ones(3, 4), torch.tensor([0, 1, 1]))
    >>> optimizer.step()
    """

    subnets: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.subnets < 1:
            raise BadParameter(f"a step trains at least one subnet, found subnets={self.subnets}.")
        if self.subnets > 1 and self.sampler.uses_gradients:
            raise BadParameter(f"{self.sampler!r} looks at the gradients of one subnet at a time, found subnets={self.subnets}; use 1.")

    def run(self, net: Elastic, inputs: Any, targets: Any) -> list[float]:
        """See the class."""
        losses = []
        for _ in range(self.subnets):
            values = self.draw(net)
            losses.append(backward(self.loss(outputs_of(net, values, inputs), targets), values))
            self.sampler.told(values, losses[-1], net)
        return losses
