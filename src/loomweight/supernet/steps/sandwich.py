"""The sandwich rule: every step trains the largest subnet, the smallest one, and some between.

Papers: BigNAS: Scaling Up Neural Architecture Search with Big Single-Stage Models (2020, https://arxiv.org/abs/2003.11142);
AlphaNet: Improved Training of Supernets with Alpha-Divergence (2021, https://arxiv.org/abs/2102.07954), with
`soft=AlphaDivergence()`; the order of subnets and the sum of their gradients are those of facebookresearch/AlphaNet, train_alphanet.py.

BigNAS regularises the largest subnet only. Dropout follows `regularise`. Weight decay needs nothing: an optimizer decays once a step what
was used, and that is the largest subnet.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_map

from ...errors import BadParameter
from ..elastic import Elastic
from ..losses.soft_labels import SoftLabels
from ..step import Step, backward, outputs_of
from .regularise import without_dropout


@dataclass(kw_only=True, eq=False)
class Sandwich(Step):
    """g = grad loss(largest, targets) + sum over the drawn ones and the smallest of grad soft(its outputs, the largest's outputs).

    Args:
        subnets: how many are drawn between the largest and the smallest.
        soft: (a subnet's outputs, the largest one's) -> mean loss, by which the others learn from the largest of the same step; no gradient
            flows to the largest. `SoftLabels()` is BigNAS, `AlphaDivergence()` AlphaNet; None trains them on the targets.
            For models whose output is not the logits: `lambda a, b: SoftLabels()(a.logits, b.logits)`.
        regularise: "largest": no dropout in the others; "all": dropout as the model has it.

    Raises:
        BadParameter: no subnet is drawn, or the sampler needs each subnet's own gradients.

    >>> import torch
    >>> from loomweight.supernet import SubnetOptimizer, Uniform, elastic
    >>> net = elastic(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)), "width 0 : 2 4 8", torch.zeros(1, 4))
    >>> step = Sandwich(loss=torch.nn.functional.cross_entropy, sampler=Uniform(), subnets=2)
    >>> optimizer = SubnetOptimizer(net, torch.optim.SGD(net.parameters(), lr=0.1))
    >>> loss = step(net, torch.ones(3, 4), torch.tensor([0, 1, 1]))
    >>> optimizer.step()
    """

    subnets: int = 2
    soft: Callable[[Any, Any], Tensor] | None = field(default_factory=SoftLabels)
    regularise: str = "largest"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.subnets < 1:
            raise BadParameter(f"at least one subnet is drawn between the largest and the smallest, found subnets={self.subnets}.")
        if self.regularise not in ("largest", "all"):
            raise BadParameter(f"regularise is 'largest' or 'all', found {self.regularise!r}.")
        if self.sampler.uses_gradients:
            raise BadParameter(f"{self.sampler!r} looks at the gradients of one subnet at a time, which a sandwich adds up; use SinglePath.")

    def run(self, net: Elastic, inputs: Any, targets: Any) -> list[float]:
        """See the class."""
        largest = net.max()
        outputs = outputs_of(net, largest, inputs)
        losses = [backward(self.loss(outputs, targets), largest)]
        teacher = tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, outputs)
        with without_dropout(net) if self.regularise == "largest" else nullcontext():
            for _ in range(self.subnets):
                values = self.draw(net)
                losses.append(self._learn(net, values, inputs, targets, teacher))
                self.sampler.told(values, losses[-1], net)
            losses.append(self._learn(net, net.min(), inputs, targets, teacher))
        return losses

    @property
    def scale(self) -> float:
        """What the gradients of all but the largest are multiplied by."""
        return 1.0

    def _learn(self, net: Elastic, values: dict[str, Any], inputs: Any, targets: Any, teacher: Any) -> float:
        outputs = outputs_of(net, values, inputs)
        return backward(self.loss(outputs, targets) if self.soft is None else self.soft(outputs, teacher), values, self.scale)
