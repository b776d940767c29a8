"""Every client has its own model: what matters most to it is shared among the like, the rest among all.

Paper: Bold but Cautious: Unlocking the Potential of Personalized Federated Learning through Cautiously Aggressive Collaboration (2023,
https://arxiv.org/abs/2309.11103), equations 2 to 6.

Read: kxzxvbk/Fling at f6c6f1e, fling/component/client/fedcac_client.py and group/fedcac_group.py (the authors'). There clients send their masks; here the
server computes them, since it knows what it sent and what came back. An entry that did not move is never critical, where the code has thresholds of 1e-10 and
1e-20. A client that is absent keeps what it was to get.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import BadParameter
from ..plain import Plain, Tensors
from .aggregate import Aggregate, Book, kept


@dataclass(frozen=True)
class FedCAC(Aggregate):
    """Client i next gets, entry by entry, the mean over C_i where the entry is critical to it, and the mean over all elsewhere.

    Critical is the share of each tensor whose |change x value| is largest. C_i is i itself and every j whose mask overlaps with that of i,
    1 - |m_i - m_j|_1 / (2 |m_i|_1), by at least mean + (round / until)(largest - mean) over all pairs: clients work together on critical
    entries at first, and the less the longer it lasts. The server holds a model for each client; `down` gives it, and `server.weights` is the mean over all.

    Args:
        critical: tau of the paper, the share of entries.
        until: beta of the paper, the round from which nobody shares critical entries.
        counts: weigh clients by their examples in the mean over all; those over C_i are plain, as in the code.

    Raises:
        BadParameter: a number out of its range.

    >>> FedCAC(critical=0.5).mask(torch.tensor([1.0, -2.0]), torch.tensor([1.0, -1.0])).tolist()
    [False, True]
    """

    critical: float = 0.5
    until: int = 100
    counts: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.critical <= 1 or self.until < 1:
            raise BadParameter(f"FedCAC: critical is in [0, 1] and until is at least 1, found {self.critical} and {self.until}.")

    def start(self, weights: Tensors) -> Plain:
        """No client has a model of its own."""
        return {"round": 0, "own": {}}

    def down(self, weights: Tensors, state: Plain, client: str) -> Tensors:
        """The client's own, or the mean over all where it has none yet."""
        return {**weights, **state["own"].get(client, {})}

    def mask(self, value: Tensor, change: Tensor) -> Tensor:
        """Which entries are critical, given what was trained and how far it moved."""
        size = (value * change).abs()
        number = int(self.critical * size.numel())
        if number == 0:
            return torch.zeros_like(size, dtype=torch.bool)
        return (size >= size.flatten().topk(number).values[-1]) & (size > 0)

    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        """The mean over all, and a mixture for each client that answered."""
        replies, number = kept(held), state["round"] + 1
        models: dict[str, Tensors] = {}
        masks: dict[str, Tensors] = {}
        for reply in replies:
            begun = self.down(weights, state, reply.client)
            change = {name: tensor.to(torch.promote_types(tensor.dtype, torch.float32)) for name, tensor in reply.update.items()}
            models[reply.client] = {name: begun[name].to(tensor.dtype) + tensor for name, tensor in change.items()}
            masks[reply.client] = {name: self.mask(models[reply.client][name], tensor) for name, tensor in change.items()}
        shares = {reply.client: float(reply.weight) if self.counts else 1.0 for reply in replies}
        total = sum(shares.values())
        mean = {name: sum(models[client][name] * (share / total) for client, share in shares.items()) for name in weights}
        groups = collaborators(masks, number / self.until)
        book.notes["collaborators"] = sum(map(len, groups.values())) / len(groups)
        own = {client: _mixed(masks[client], [models[other] for other in group], mean, weights) for client, group in groups.items()}
        return {name: mean[name].to(tensor.dtype) for name, tensor in weights.items()}, {"round": number, "own": {**state["own"], **own}}  # type: ignore[union-attr]


def collaborators(masks: Mapping[str, Tensors], passed: float) -> dict[str, list[str]]:
    """C_i: each client itself, and those whose masks overlap with its own by at least mean + passed (largest - mean).

    >>> one, two = {"w": torch.tensor([True, False])}, {"w": torch.tensor([False, True])}
    >>> collaborators({"a": one, "b": one, "c": two}, 0.5)
    {'a': ['a', 'b'], 'b': ['b', 'a'], 'c': ['c']}
    """
    pairs = {(i, j): overlap(masks[i], masks[j]) for i in masks for j in masks if i != j}
    mean = sum(pairs.values()) / max(len(pairs), 1)
    least = mean + passed * (max(pairs.values(), default=0.0) - mean)
    return {i: [i, *(j for j in masks if j != i and pairs[i, j] >= least)] for i in masks}


def overlap(mine: Tensors, other: Tensors) -> float:
    """1 - |m_i - m_j|_1 / (2 |m_i|_1): 1 for equal masks, 0 for masks of one size that share nothing.

    >>> overlap({"w": torch.tensor([True, True, False])}, {"w": torch.tensor([True, False, True])})
    0.5
    """
    apart = sum(int((mine[name] != other[name]).sum()) for name in mine)
    size = sum(int(mask.sum()) for mask in mine.values())
    return 1 - apart / (2 * size) if size else float(apart == 0)


def _mixed(mask: Tensors, models: list[Tensors], mean: Mapping[str, Tensor | float], like: Tensors) -> Tensors:
    found = {}
    for name, critical in mask.items():
        group = torch.stack([model[name] for model in models]).mean(0)
        found[name] = torch.where(critical, group, mean[name]).to(like[name].dtype)
    return found
