"""Clients vote by rankings: which part of a random network is the model.

Paper: FRL: Federated Rank Learning (2021, https://arxiv.org/abs/2110.04350), algorithm 1.

Read: SPIN-UMass/FRL at 2da5907, utils.py, FL_train.py and models. Ranks of all clients are summed and sorted again, one vote each, whatever their examples.
There the mask takes the largest |score| while ranks are those of the signed score, and the scores that ranks stand for are the sorted first draws; here scores
are positive and evenly spaced, so that the seed of the network and a ranking say everything.
"""

from dataclasses import dataclass

import torch

from ...errors import BadParameter
from ...weights.names import listed
from ..messages.ranking import ladder, places
from ..plain import Plain, Reply, Tensors
from .aggregate import Aggregate, Book


@dataclass(frozen=True)
class RankVote(Aggregate):
    """The scores' new rank is that of the sum of the clients' ranks; integers, so that no order of replies and no client's size changes a bit.

    However hostile, a client moves an entry's sum by n - 1 at most. With the message `Ranks()`; `frl` writes the whole strategy.

    Raises:
        BadParameter: at the start, scores in a type that cannot count to n.

    >>> from loomweight.federate import Ranks, Reply, Server, Strategy
    >>> server = Server({"s": torch.zeros(3)}, Strategy(aggregate=RankVote(), message=(Ranks(),)), ["ann", "bob"])
    >>> _ = server.tasks()
    >>> for client, ranks in {"ann": [0.0, 1.0, 2.0], "bob": [1.0, 0.0, 2.0]}.items():
    ...     refused = server.push(Reply(client, 0, Ranks().pack_down({"s": torch.tensor(ranks)}, client)))
    >>> _ = server.close()
    >>> server.weights["s"]
    tensor([0.3333, 0.6667, 1.0000])
    """

    sums = True

    def start(self, weights: Tensors) -> Plain:
        """Nothing is kept."""
        coarse = [name for name, tensor in weights.items() if tensor.numel() > 2 / torch.finfo(tensor.dtype).eps]
        if coarse:
            raise BadParameter(f"RankVote: ranks of {listed(coarse)} do not fit their type; use float32 for up to 16,777,216 entries, or float64.")
        return {}

    def wrong(self, reply: Reply) -> str | None:
        """Every rank once."""
        for name, tensor in reply.update.items():
            if not torch.equal(tensor.flatten().double().sort().values, torch.arange(tensor.numel(), dtype=torch.float64)):
                return f"tensor {name!r} holds no ranks from 0 to {tensor.numel() - 1}; clients send them by the message Ranks()"
        return None

    def add(self, held: Plain, reply: Reply, weights: Tensors) -> None:
        """To the sum of ranks."""
        total = held.setdefault("sum", {})
        for name, ranks in reply.update.items():
            total[name] = total[name] + ranks.long() if name in total else ranks.long()

    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        """Sort again."""
        return {**weights, **{name: ladder(places(total), weights[name].dtype) for name, total in held["sum"].items()}}, state
