"""A client's half of analytic federated learning: no training, one pass over its data.

Paper: Analytic Federated Learning (2024, https://arxiv.org/abs/2405.16240).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...errors import BadParameter
from ..plain import Tensors
from ..pooling.analytic import analytic
from ..pooling.analytic_head import with_ones
from .term import Term

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class RidgeHead(Term):
    """The client makes no step; it sends the ridge regression of its targets on what goes into a linear layer, and the Gram matrix of that.

    Args:
        head: name of the linear layer.
        gamma: of the regression.

    >>> RidgeHead("fc").key
    'RidgeHead'
    """

    head: str
    gamma: float = 1.0

    def order(self, work: "Work", batches: Iterable[Any]) -> Iterable[Any]:
        """No batch."""
        return ()

    def finish(self, work: "Work") -> Tensors:
        """The regression.

        Raises:
            BadParameter: the head is no linear layer of the model.
        """
        layer = dict(work.model.named_modules()).get(self.head)
        if not isinstance(layer, nn.Linear):
            raise BadParameter(f"RidgeHead: {self.head!r} is no linear layer of the model; it is {type(layer).__name__}.")
        features = self._features(work, layer)
        return analytic(features if layer.bias is None else with_ones(features), work.data[-1], layer.out_features, self.gamma)

    @torch.no_grad()
    def _features(self, work: "Work", layer: nn.Linear) -> Tensor:
        seen: list[Tensor] = []
        hook = layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].double()))
        work.exits.callback(hook.remove)
        work.model.eval()
        for batch in zip(*(part.split(work.local.batch) for part in work.data[:-1]), strict=True):
            work.model(*batch)
        work.model.train()
        return torch.cat(seen)
