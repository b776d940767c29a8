"""No client may have more than its share of a round."""

from collections.abc import Sequence
from dataclasses import replace

from .plain import Reply


def capped(replies: Sequence[Reply], share: float) -> list[Reply]:
    """The replies with weights cut so that no client has more than `share` of their sum; equal weights where so few cannot be.

    A client that has answered several times has the share over all its replies.

    >>> [reply.weight for reply in capped([Reply(client, 0, {}, weight) for client, weight in (("a", 1), ("b", 1), ("c", 98))], 0.5)]
    [1.0, 1.0, 2.0]
    """
    weights: dict[str, float] = {}
    for reply in replies:
        weights[reply.client] = weights.get(reply.client, 0.0) + reply.weight
    limits = _limited({client: weight for client, weight in weights.items() if weight > 0}, share)
    return [replace(reply, weight=reply.weight / weights[reply.client] * limits[reply.client]) if reply.client in limits else reply for reply in replies]


def _limited(weights: dict[str, float], share: float) -> dict[str, float]:
    if len(weights) * share <= 1:
        return dict.fromkeys(weights, 1.0)
    cut: set[str] = set()
    while True:
        rest = sum(weight for client, weight in weights.items() if client not in cut)
        limit = share * rest / (1 - share * len(cut))
        over = {client for client in weights if client not in cut and weights[client] > limit * (1 + 1e-12)}
        if not over:
            return {client: limit if client in cut else weight for client, weight in weights.items()}
        cut |= over
