"""A rule as an aggregate: the same rules that merge checkpoints."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import torch

from ...rules import Mean, Rule, combine
from ..plain import Plain, Reply, Tensors
from .aggregate import Aggregate, Book, kept


@dataclass(frozen=True)
class Pool(Aggregate):
    """w <- w + rate * rule(updates): federated averaging is `Pool(Mean())`, and any rule of `loomweight.rules` may stand for the mean.

    Paper: Communication-Efficient Learning of Deep Networks from Decentralized Data (2017, https://arxiv.org/abs/1602.05629), algorithm 1.

    A rule with `weights` gets the clients' examples, unless it has its own or `counts` is False. The mean is taken as updates come: one
    model of memory, in float32, divided once. Other rules see all updates of the round at once. Replies that were refused for what they
    held count among the f bad ones.

    Args:
        rule: of the updates.
        rate: the server's learning rate.
        counts: weigh clients by their examples.

    >>> Pool(Mean(), rate=0.5).sums
    True
    """

    rule: Rule = field(default_factory=Mean)
    rate: float = 1.0
    counts: bool = True

    @cached_property
    def sums(self) -> bool:  # type: ignore[override]
        """Whether only a sum is looked at."""
        return isinstance(self.rule, Mean) and self.rule.weights is None

    def add(self, held: Plain, reply: Reply, weights: Tensors) -> None:
        """Add to the sum, or keep."""
        if self.sums:
            added(held, reply, float(reply.weight) if self.counts else 1.0)
        else:
            super().add(held, reply, weights)

    def check(self, count: int, refused: int = 0) -> None:
        """As the rule does; a refused reply was one of its f bad ones."""
        (self.rule.restricted(range(count), count + refused) if refused else self.rule).check(count)

    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        """A step along the pooled update; of a sum, in the sum's own memory."""
        if self.sums:
            return _stepped_within(weights, held.pop("sum", {}), held.get("weights", {}), self.rate), state
        return stepped(weights, self.change(held, book), self.rate), state

    def change(self, held: Plain, book: Book) -> Tensors:
        """The pooled update, in float32 (float64 for tensors of that)."""
        if self.sums:
            return averaged(held)
        replies = kept(held)
        rule = self.rule_for([reply.weight for reply in replies], len(replies) + len(book.refused))
        found = combine([_working(reply.update) for reply in replies], rule)
        return {name: found[name] for name in found}

    def rule_for(self, counts: list[float], sent: int) -> Rule:
        """The rule for replies with these examples, of so many that were sent.

        Raises:
            TooFewSets: the rule is not defined for so few.
        """
        rule: Any = self.rule.restricted(range(len(counts)), sent) if sent > len(counts) else self.rule
        takes = any(option.name == "weights" for option in fields(rule)) and rule.weights is None
        if takes and self.counts and len(set(counts)) > 1 and sum(counts) > 0:
            rule = replace(rule, weights=tuple(counts))
        rule.check(len(counts))
        return rule


def added(held: Plain, reply: Reply, weight: float) -> None:
    """Add weight * update to the sum, in float32 or better; as many bytes as one model, whatever the number of replies."""
    total, weights = held.setdefault("sum", {}), held.setdefault("weights", {})
    for name, tensor in reply.update.items():
        if name not in total:
            total[name] = torch.zeros(tensor.shape, dtype=torch.promote_types(tensor.dtype, torch.float32))
        total[name].add_(tensor, alpha=weight)
        weights[name] = weights.get(name, 0.0) + weight


def averaged(held: Plain) -> Tensors:
    """Each tensor's sum divided by the weight of those that sent it, once; nothing where nothing with a weight came."""
    return {name: total / weight for name, total in held.get("sum", {}).items() if (weight := held["weights"][name]) > 0}


def stepped(weights: Tensors, change: Tensors, rate: float = 1.0) -> Tensors:
    """weights + rate * change, rounded once to the weights' dtype; tensors without a change are handed on."""
    moved = dict(weights)
    for name, step in change.items():
        moved[name] = torch.add(weights[name].to(step.dtype), step, alpha=rate).to(weights[name].dtype)
    return moved


def _stepped_within(weights: Tensors, total: Tensors, sent: Mapping[str, float], rate: float) -> Tensors:
    """weights + rate * total / sent, tensor by tensor where the total was."""
    moved = dict(weights)
    for name in [name for name in total if sent[name] > 0]:
        step = total.pop(name).div_(sent[name])
        moved[name] = torch.add(weights[name].to(step.dtype), step, alpha=rate, out=step).to(weights[name].dtype)
    return moved


def _working(update: Tensors) -> Tensors:
    return {name: tensor.to(torch.promote_types(tensor.dtype, torch.float32)) for name, tensor in update.items()}
