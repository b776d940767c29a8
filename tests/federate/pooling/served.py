"""Rounds by hand: what clients answer is given, and a server pools it."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from loomweight.federate import Aggregate, Reply, Server, Strategy, Term

Tensors = dict[str, Tensor]


def pooled(aggregate: Aggregate, weights: Tensors, rounds: Sequence[Mapping[str, Reply]], terms: Sequence[Term] = (), clients: Sequence[str] = ()) -> Server:
    """A server after these rounds; the clients are those that are named, or who answers in the first."""
    server = Server(weights, Strategy(aggregate=aggregate, objective=tuple(terms)), list(clients) or list(rounds[0]))
    for replies in rounds:
        server.tasks()
        for reply in replies.values():
            assert server.push(reply) is None
        server.close()
    return server


def reply(client: str, number: int, values: Sequence[float], weight: float = 1.0, **extra: Tensors) -> Reply:
    """With one tensor, w."""
    return Reply(client, number, {"w": torch.tensor(values)}, weight, extra=dict(extra))


def one_round(aggregate: Aggregate, updates: Mapping[str, Sequence[float]], weights: Mapping[str, float] | None = None) -> Tensor:
    """What becomes of w = 0."""
    size = len(next(iter(updates.values())))
    replies = {client: reply(client, 0, values, (weights or {}).get(client, 1.0)) for client, values in updates.items()}
    return pooled(aggregate, {"w": torch.zeros(size)}, [replies]).weights["w"]
