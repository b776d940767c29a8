"""The server learns how much each client counts, and how much the sum is to shrink, on a few examples of its own.

Paper: Revisiting Weighted Aggregation in Federated Learning with Neural Networks (2023, https://arxiv.org/abs/2302.10911).

Read with the authors' code (ZexiLee/ICML-2023-FedLAW, 47f7a72): gamma = exp(g) from g = 0, lambda = softmax(l) from the examples, Adam with betas (0.5, 0.999),
its rate halved every 20 epochs. Where we differ: batches keep their order and dropout is off, so that nothing is drawn at the server; buffers, such
as BatchNorm's statistics, are averaged and not shrunk. Coherence, which the code does not have, is read as the
mean cosine of a client's update with those of the others.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.dropout import _DropoutNd

from ...errors import BadParameter
from ..plain import Plain, Reply, Tensors
from .aggregate import Aggregate, Book, kept
from .mixing import examples, inner_products, mixed


@dataclass(frozen=True)
class FedLAW(Aggregate):
    """w <- gamma sum_k lambda_k w_k, with gamma > 0 and lambda on the simplex that make the loss on the proxy data small.

    A gamma below 1 shrinks all weights, as weight decay does. The notes of the round tell gamma, each lambda, and each client's coherence: the mean
    cosine of its update with those of the others.

    Args:
        model: the server's, for its forward pass; what does not travel is taken from it.
        proxy: (inputs, targets) of the server; several inputs may stand before the targets.
        loss: of (outputs, targets).
        epochs: over the proxy data, each round.
        batch: examples a step.
        rate: of Adam.
        shrink: whether gamma is learnt; otherwise it is 1.

    Raises:
        BadParameter: no proxy data, or no epoch.

    >>> FedLAW(torch.nn.Linear(1, 1), (torch.ones(2, 1), torch.ones(2, 1))).epochs
    20
    """

    model: nn.Module = field(compare=False)
    proxy: Sequence[Tensor] = field(repr=False, compare=False)
    loss: Callable[[Any, Tensor], Tensor] = functional.cross_entropy
    epochs: int = 20
    batch: int = 128
    rate: float = 0.005
    shrink: bool = True

    def __post_init__(self) -> None:
        if len(self.proxy) < 2 or not len(self.proxy[0]) or self.epochs < 1 or self.batch < 1:
            raise BadParameter(f"FedLAW: proxy is (inputs, targets) with an example, epochs and batch are at least 1; found {self.epochs} and {self.batch}.")

    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        """The learnt sum."""
        replies = kept(held)
        gamma, shares = self.learnt(weights, replies)
        coherence = coherences(inner_products(replies)).tolist()
        book.notes |= {"gamma": gamma}
        for reply, share, one in zip(replies, shares.tolist(), coherence, strict=True):
            book.notes |= {f"lambda of {reply.client}": share, f"coherence of {reply.client}": one}
        trained = self._trained()
        change = mixed(replies, shares.tolist())
        moved = {name: (weights[name].to(step.dtype) + step) * (gamma if name in trained else 1.0) for name, step in change.items()}
        return {**weights, **{name: tensor.to(weights[name].dtype) for name, tensor in moved.items()}}, state

    def learnt(self, weights: Tensors, replies: Sequence[Reply]) -> tuple[float, Tensor]:
        """gamma, and lambda by client."""
        logits = examples(replies).clamp(min=1e-12).log().float().requires_grad_()
        log_gamma = torch.zeros((), requires_grad=True)
        optimizer = torch.optim.Adam([logits, *([log_gamma] if self.shrink else [])], lr=self.rate, betas=(0.5, 0.999))
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=20, gamma=0.5)
        model, trained = _quiet(self.model), self._trained()
        stacks = {name: torch.stack([weights[name].float() + reply.update[name].float() for reply in replies]) for name in replies[0].update}
        for _ in range(self.epochs):
            for batch in zip(*(part.split(self.batch) for part in self.proxy), strict=True):
                shares, gamma = logits.softmax(0), log_gamma.exp()
                whole = {name: _summed(stack, shares, gamma if name in trained else None) for name, stack in stacks.items()}
                fixed = {name: tensor.detach().clone() for name, tensor in model.state_dict().items() if name not in whole}
                optimizer.zero_grad()
                self.loss(torch.func.functional_call(model, {**fixed, **whole}, tuple(batch[:-1])), batch[-1]).backward()
                optimizer.step()
            schedule.step()
        return log_gamma.exp().item(), logits.detach().softmax(0)

    def _trained(self) -> set[str]:
        return {name for name, _ in self.model.named_parameters()}


def coherences(gram: Tensor) -> Tensor:
    """The mean cosine of each update with the others, from inner products [n, n]; 0 for one alone.

    Part of: fed_law.

    >>> coherences(torch.tensor([[1.0, 1.0], [1.0, 4.0]]))
    tensor([0.5000, 0.5000])
    """
    norms = gram.diagonal().clamp(min=0).sqrt()
    cosines = gram / torch.outer(norms, norms).clamp(min=1e-38)
    others = max(len(gram) - 1, 1)
    return (cosines.sum(1) - cosines.diagonal()) / others


def _summed(stack: Tensor, shares: Tensor, gamma: Tensor | None) -> Tensor:
    """gamma sum_k share_k w_k; without gamma a buffer, through which nothing is learnt."""
    return torch.tensordot(shares.detach(), stack, 1) if gamma is None else torch.tensordot(shares, stack, 1) * gamma


def _quiet(model: nn.Module) -> nn.Module:
    """A copy in training, but for dropout."""
    copied = copy.deepcopy(model).train()
    for module in copied.modules():
        if isinstance(module, _DropoutNd):
            module.eval()
    return copied
