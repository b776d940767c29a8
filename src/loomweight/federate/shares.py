"""No client may have more than its share of a round."""

from dataclasses import replace

from .plain import Reply


def capped(replies: dict[str, Reply], share: float) -> dict[str, Reply]:
    """The replies with weights cut so that none is more than `share` of their sum; equal weights where so few cannot be.

    >>> weights = capped({c: Reply(c, 0, {}, w) for c, w in (("a", 1), ("b", 1), ("c", 98))}, 0.5)
    >>> [reply.weight for reply in weights.values()]
    [1, 1, 2.0]
    """
    weights = {client: reply.weight for client, reply in replies.items()}
    positive = [client for client, weight in weights.items() if weight > 0]
    if len(positive) * share <= 1:
        return {client: replace(reply, weight=float(reply.weight > 0)) for client, reply in replies.items()}
    cut: set[str] = set()
    while True:
        rest = sum(weight for client, weight in weights.items() if client not in cut)
        limit = share * rest / (1 - share * len(cut))
        over = {client for client in positive if client not in cut and weights[client] > limit * (1 + 1e-12)}
        if not over:
            break
        cut |= over
    return {client: replace(reply, weight=limit if client in cut else reply.weight) for client, reply in replies.items()}
