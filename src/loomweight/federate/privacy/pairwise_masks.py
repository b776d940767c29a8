"""Masks that cancel in the sum: what a server behind secure aggregation sees.

Paper: Practical Secure Aggregation for Privacy-Preserving Machine Learning (2017, https://doi.org/10.1145/3133956.3133982), section 4.0.1. This is its
arithmetic alone, for trying whether an aggregate does with a sum: one seed stands for the keys that pairs of clients agree on, and there are no shares for
clients that drop out. A deployment uses a protocol that somebody has proved.
"""

from collections.abc import Sequence
from hashlib import blake2b

import torch
from torch import Tensor

from ...errors import BadParameter, TooFewSets
from ..plain import Tensors

_BITS = 24


def masked(update: Tensors, client: str, clients: Sequence[str], seed: int, number: int = 0) -> Tensors:
    """The update in fixed point, modulo 2^64, plus the masks of those before the client and minus the masks of those after it. Part of: unmasked_sum.

    To a server, each masked update alone is uniform noise.

    Args:
        update: entries below 2^39 / (number of clients) in magnitude; they are rounded to 2^-24.
        client: whose it is.
        clients: all that take part; each has to answer.
        seed: stands for the secrets of pairs.
        number: of the round.

    Raises:
        BadParameter: the client is not among them, or an entry does not fit.
    """
    if client not in clients or len(set(clients)) < len(clients):
        raise BadParameter(f"masked: {client!r} is not among the clients, or one is named twice.")
    found = {}
    for name, tensor in update.items():
        fixed = (tensor.double() * 2**_BITS).round()
        if not bool((fixed.abs() < 2.0**63 / len(clients)).all()):
            raise BadParameter(f"masked: tensor {name!r} of client {client!r} holds NaN or entries that do not fit; clip first.")
        found[name] = fixed.to(torch.int64)
        for other in clients:
            if other != client:
                mask = _mask(tensor.shape, seed, number, name, *sorted((client, other)))
                found[name] = found[name] + mask if client < other else found[name] - mask
    return found


def unmasked_sum(sent: Sequence[Tensors], clients: Sequence[str]) -> Tensors:
    """The sum of all updates from the sum of all masked ones, in float64; a missing one leaves its masks in the sum, so none may be missing.

    An aggregate whose `sums` is True can do with it: `Pool(Mean())` with clients that count alike, or `GaussianNoise(added_by="clients")`. A
    median, a Krum or a server that clips cannot, as they look at single updates. Flower 1.42 has SecAgg and SecAgg+ as workflows of its older
    server (`LegacyContext`) alone, and no strategy of its newer one can use them.

    Args:
        sent: what clients sent.
        clients: all that were to send.

    Raises:
        TooFewSets: somebody has not sent.

    >>> clients = ["ann", "bob", "cai"]
    >>> sent = [masked({"w": torch.tensor([i, 0.5])}, client, clients, seed=0) for i, client in enumerate(clients)]
    >>> unmasked_sum(sent, clients)["w"]
    tensor([3.0000, 1.5000], dtype=torch.float64)
    """
    if len(sent) != len(clients):
        raise TooFewSets(f"unmasked_sum: {len(sent)} of {len(clients)} clients have sent; the masks of the others are left in the sum.")
    return {name: torch.stack([update[name] for update in sent]).sum(0).double() / 2**_BITS for name in sent[0]}


def _mask(shape: torch.Size, *key: object) -> Tensor:
    generator = torch.Generator().manual_seed(int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest()) >> 1)
    halves = torch.randint(-(2**31), 2**31, (2, *shape), generator=generator)
    return halves[0] * 2**32 + halves[1]
