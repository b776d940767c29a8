"""Features of the client's model pulled to those of the received model, and away from those of its model before.

Paper: Model-Contrastive Federated Learning (2021, https://arxiv.org/abs/2103.16257), equation 3 and algorithm 1.

Read: QinbinLi/MOON, main.py at 8fcba3c4 (`train_net_fedcon`). As there, the two other models are in evaluation mode, and in its first task a client, which has
no model before, trains plainly.
"""

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import BadParameter, unknown
from ..plain import Tensors
from .term import Term

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class Moon(Term):
    """loss - mu log(e^(cos(z, z_received) / t) / (e^(cos(z, z_received) / t) + e^(cos(z, z_before) / t))), mean over the batch.

    z is the output of one module, flattened. A client keeps its last model.

    Args:
        features: the name of that module, as in `model.named_modules()`; its last call in a forward pass counts.
        mu: the weight of the term.
        temperature: t.

    Raises:
        BadParameter: mu is negative, or the temperature is not positive; while training, the module's output is no tensor of one row an example.
        UnknownName: while training, the model has no module of that name.

    >>> from loomweight.federate import Strategy
    >>> strategy = Strategy(objective=(Moon("features", mu=5.0),))
    """

    features: str
    mu: float = 1.0
    temperature: float = 0.5

    def __post_init__(self) -> None:
        if not self.mu >= 0 or not self.temperature > 0:
            raise BadParameter(f"Moon: mu is at least 0 and the temperature positive, found {self.mu} and {self.temperature}.")

    def begin(self, work: "Work") -> None:
        """Watch the module, and bring the other two models to life."""
        before, scratch = work.memory_of(self).get("before"), work.scratch_of(self)
        if before is None or not self.mu:
            return
        scratch["received"] = self._frozen(work.model, work.start)
        scratch["before"] = self._frozen(work.model, {**work.start, **before})
        self._watch(work.model, scratch, work)

    def loss(self, work: "Work", batch: Any, loss: Tensor) -> Tensor:
        """With the contrast."""
        scratch = work.scratch_of(self)
        if "before" not in scratch:
            return loss
        own = scratch["seen"]
        with torch.no_grad():
            others = [self._seen(scratch[which], batch, work) for which in ("received", "before")]
        return loss + self.mu * contrast(own, others[0], others[1], self.temperature)

    def finish(self, work: "Work") -> Tensors:
        """The client's model is kept."""
        state = work.model.state_dict()
        work.memory_of(self)["before"] = {name: state[name].clone() for name, how in work.how.items() if how != "keep"}
        return {}

    def _frozen(self, model: nn.Module, weights: Tensors) -> nn.Module:
        other = copy.deepcopy(model)
        other.load_state_dict(weights, strict=False)
        return other.eval().requires_grad_(False)

    def _watch(self, model: nn.Module, where: dict[str, Any], work: "Work") -> None:
        modules = dict(model.named_modules())
        if self.features not in modules:
            raise unknown("module", self.features, modules)
        handle = modules[self.features].register_forward_hook(lambda module, inputs, output: where.update(seen=self._rows(output)))
        work.exits.callback(handle.remove)

    def _seen(self, model: nn.Module, batch: Any, work: "Work") -> Tensor:
        place: dict[str, Any] = {}
        handle = dict(model.named_modules())[self.features].register_forward_hook(lambda module, inputs, output: place.update(seen=self._rows(output)))
        model(*batch[:-1])
        handle.remove()
        return place["seen"]

    def _rows(self, output: Any) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim < 2:
            raise BadParameter(f"Moon: module {self.features!r} gives no row of features for each example; name another.")
        return output.flatten(1)


def contrast(own: Tensor, near: Tensor, far: Tensor, temperature: float) -> Tensor:
    """The mean over rows of the contrastive loss.

    Part of: moon.

    >>> contrast(torch.eye(2), torch.eye(2), -torch.eye(2), 1.0)  # log(1 + e^-2)
    tensor(0.1269)
    """
    apart = (functional.cosine_similarity(own, far, dim=1) - functional.cosine_similarity(own, near, dim=1)) / temperature
    return functional.softplus(apart).mean()
