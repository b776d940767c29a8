"""Clients train and send the layers that matter most to them, and not too different ones.

Paper: Exploring Selective Layer Fine-Tuning in Federated Learning (2024, https://arxiv.org/abs/2408.15600), section 4.2.

Neither its full text nor its authors' code was to be had; this is our reading of its abstract and of summaries. There the server solves for all masks at once;
here each client solves for its own against those of the round before, which needs no second exchange before training. Gradients are those of one batch, dropout
off.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...errors import BadParameter
from ...weights.names import layer_of
from ..plain import Tensors
from .term import Ended, Term

if TYPE_CHECKING:
    from ..work import Work


@dataclass(frozen=True)
class SelectLayers(Term):
    """Maximises sum_l m_l |g_l| - agree mean_j |m - m_j|_1 over masks m of as many layers as the budget allows.

    |m_l - m_j,l| is linear in a binary m_l, so the best mask has the layers with the largest |g_l| + 2 agree q_l, where q_l is the share of clients that chose
    layer l in the round before. The others are frozen, and neither trained nor sent; the aggregate has to be one that averages a tensor over those that sent it
    (`selective`). With agree = 0 clients look at themselves alone; where it is large all choose the same.

    Args:
        budget: layers that a client trains, or client -> layers.
        agree: lambda of the paper.

    Raises:
        BadParameter: a budget below 1, or agree below 0.

    >>> SelectLayers(2).chosen(torch.tensor([1.0, 3.0, 2.0]), torch.zeros(3), 2).tolist()
    [False, True, True]
    """

    budget: int | Mapping[str, int] = 1
    agree: float = 0.0

    def __post_init__(self) -> None:
        budgets = [self.budget] if isinstance(self.budget, int) else list(self.budget.values())
        if min(budgets, default=0) < 1 or self.agree < 0:
            raise BadParameter(f"SelectLayers: budgets are at least 1 and agree is not negative, found {self.budget} and {self.agree}.")

    def start(self, weights: Tensors) -> Tensors:
        """Nobody has chosen."""
        return {"chosen": torch.zeros(len(layers(weights)))}

    def pool(self, shared: Tensors, ended: Ended) -> Tensors:
        """The share of clients that chose each layer."""
        sent = [reply.extra[self.key]["chosen"] for reply in ended.replies if "chosen" in reply.extra.get(self.key, {})]
        return {"chosen": torch.stack(sent).float().mean(0)} if sent else shared

    def begin(self, work: "Work") -> None:
        """Choose, and freeze the others.

        Raises:
            BadParameter: the client has no budget.
        """
        budget = self.budget if isinstance(self.budget, int) else self.budget.get(work.task.client)
        if budget is None:
            raise BadParameter(f"SelectLayers: no budget is given for client {work.task.client!r}.")
        found = layers(work.task.weights)
        mask = self.chosen(_norms(work, found), work.shared_of(self)["chosen"], budget)
        kept = {name for names, here in zip(found.values(), mask.tolist(), strict=True) if here for name in names}
        work.scratch_of(self).update(mask=mask, kept=kept)
        for name, param in work.params.items():
            if name not in kept:
                param.requires_grad_(False)
                work.exits.callback(param.requires_grad_, True)

    def chosen(self, norms: Tensor, others: Tensor, budget: int) -> Tensor:
        """The mask: the budget's best, of equal ones the first; a layer without a gradient is never worth a place."""
        score = torch.where(norms > 0, norms + 2 * self.agree * others, -1.0)
        mask = torch.zeros(len(norms), dtype=torch.bool)
        mask[score.argsort(descending=True, stable=True)[:budget]] = True
        return mask & (norms > 0)

    def finish(self, work: "Work") -> Tensors:
        """The mask, a byte for a layer; of the update what was chosen."""
        held = work.scratch_of(self)
        work.update = {name: tensor for name, tensor in work.update.items() if name in held["kept"]}
        return {"chosen": held["mask"].to(torch.uint8)}


def layers(weights: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """The names of each layer's tensors.

    >>> layers({"0.weight": torch.ones(1), "0.bias": torch.ones(1), "head.weight": torch.ones(1)})
    {'0': ['0.weight', '0.bias'], 'head': ['head.weight']}
    """
    found: dict[str, list[str]] = {}
    for name in weights:
        found.setdefault(layer_of(name), []).append(name)
    return found


def _norms(work: "Work", found: Mapping[str, list[str]]) -> Tensor:
    """|g_l| of the first batch of an order of its own, so that the training's batches stay what they are."""
    batch = next(work.local.batches(work.data, 1, torch.Generator().manual_seed(work.task.seed)))
    work.model.eval()
    loss = work.local.loss(work.model(*batch[:-1]), batch[-1])
    gradients = dict(zip(work.params, torch.autograd.grad(loss, list(work.params.values()), allow_unused=True), strict=True))
    work.model.train()
    squares = [sum(float(g.square().sum()) for name in names if (g := gradients.get(name)) is not None) for names in found.values()]
    return torch.tensor(squares).sqrt()
