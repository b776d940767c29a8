"""Adapters of different ranks, stacked: their sum exactly.

Paper: FLoRA: Federated Fine-Tuning Large Language Models with Heterogeneous Low-Rank Adaptations (2024, https://arxiv.org/abs/2409.05976), equations 3 to 8.

Read: ATP-1010/FederatedLLM at 1b0cc9b, main.py, and 0912cd3, fed_utils/model_aggregation.py: A times its share above the others, B beside the others, a scale
of 2 at every rank, new adapters each round. We differ: the server adds the product to the base itself and sends the base, where the paper sends the stacked
factors and every client adds them; a client that missed a round then has the right base all the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from math import prod

import torch
from torch import Tensor

from ...errors import BadParameter
from ...weights.names import listed
from ..plain import Plain, Reply, Tensors
from .aggregate import Aggregate, Book, kept
from .pool import stepped

_A, _B = "lora_A.", "lora_B."


@dataclass(frozen=True)
class FLoRA(Aggregate):
    """W <- W + scale [B_1 ... B_n] [p_1 A_1; ...; p_n A_n] = W + scale sum_k p_k B_k A_k, and every adapter begins anew: A random, B = 0.

    The mean of the A times the mean of the B, which averaging gives, is something else, and is not even defined for several ranks. `flora`
    writes the rest of the strategy.

    Args:
        ranks: client -> its adapters' rank, that of its model in `World(models=...)`; others have the server's.
        scale: of the adapters, PEFT's lora_alpha / r, alike for all clients.
        seed: of the new A.
        counts: weigh clients by their examples.
        transposed: bases are stored the other way round (PEFT's fan_in_fan_out).

    Raises:
        BadParameter: a rank below 1; at the start, no adapters with their bases, or some that are trained already.

    >>> weights = {"base_layer.weight": torch.zeros(2, 3), "lora_A.default.weight": torch.zeros(1, 3), "lora_B.default.weight": torch.zeros(2, 1)}
    >>> FLoRA({"ann": 2}).like(weights, {}, "ann")["lora_A.default.weight"].shape
    torch.Size([2, 3])
    """

    ranks: Mapping[str, int] = field(default_factory=dict)
    scale: float = 2.0
    seed: int = 0
    counts: bool = True
    transposed: bool = False
    partial = True

    def __post_init__(self) -> None:
        if any(rank < 1 for rank in self.ranks.values()):
            raise BadParameter(f"FLoRA: ranks are at least 1, found {dict(self.ranks)}.")

    def start(self, weights: Tensors) -> Plain:
        """The number of the round.

        Raises:
            BadParameter: see above.
        """
        layers = layers_of(weights)
        lacking = [name for layer in layers for name in layer if name not in weights]
        if not layers or lacking:
            words = listed(lacking) if lacking else "all of them"
            raise BadParameter(f"FLoRA: expected lora_A, lora_B and base_layer.weight of each adapted layer among the pooled tensors; missing: {words}.")
        trained = [up for _, up, _ in layers if bool(weights[up].any())]
        if trained:
            raise BadParameter(f"FLoRA: {listed(trained)} should be zero at the start; merge what was trained before into the base first.")
        return {"round": 0}

    def like(self, weights: Tensors, state: Plain, client: str) -> Tensors:
        """Factors of the client's rank."""
        found = dict(weights)
        if client in self.ranks:
            rank = self.ranks[client]
            for down, up, _ in layers_of(weights):
                found[down] = weights[down].new_zeros((rank, *weights[down].shape[1:]))
                found[up] = weights[up].new_zeros((weights[up].shape[0], rank, *weights[up].shape[2:]))
        return found

    def down(self, weights: Tensors, state: Plain, client: str) -> Tensors:
        """The base, and new factors of the client's rank."""
        found = self.like(weights, state, client)
        for name, up, _ in layers_of(weights):
            found[name], found[up] = self._new(found[name], (client, state["round"], name)), torch.zeros_like(found[up])
        return found

    def wrong(self, reply: Reply) -> str | None:
        """Both factors of each layer."""
        lacking = [name for layer in layers_of(reply.update) for name in layer[:2] if name not in reply.update]
        if lacking or not layers_of(reply.update):
            return f"it lacks {listed(lacking) if lacking else 'its adapters'}"
        return None

    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        """Stack, multiply, add."""
        total = sum(self._weight(reply) for reply in kept(held))
        downs: dict[str, list[Tensor]] = {}
        ups: dict[str, list[Tensor]] = {}
        for reply in kept(held):
            begun = self.down(weights, state, reply.client)
            for down, up, base in layers_of(reply.update):
                work = torch.promote_types(weights[base].dtype, torch.float32)
                downs.setdefault(base, []).append((begun[down].to(work) + reply.update[down].to(work)).flatten(1) * (self._weight(reply) / total))
                ups.setdefault(base, []).append(reply.update[up].to(work).flatten(1))
        change = {base: self._as_base(torch.cat(ups[base], 1) @ torch.cat(downs[base]), weights[base]) for base in downs}
        return stepped(weights, change, self.scale), {"round": state["round"] + 1}

    def _weight(self, reply: Reply) -> float:
        return float(reply.weight) if self.counts else 1.0

    def _as_base(self, product: Tensor, base: Tensor) -> Tensor:
        return (product.T if self.transposed else product).reshape(base.shape)

    def _new(self, like: Tensor, key: tuple[str, int, str]) -> Tensor:
        """As PEFT begins A: uniform within 1 / sqrt(inputs), the same for a client, a round and a name."""
        word = int.from_bytes(blake2b(repr((self.seed, *key)).encode(), digest_size=7).digest())
        drawn = torch.rand(like.shape, generator=torch.Generator().manual_seed(word)) * 2 - 1
        return (drawn / prod(like.shape[1:]) ** 0.5).to(like.dtype)


def layers_of(weights: Mapping[str, Tensor]) -> list[tuple[str, str, str]]:
    """Names of A, B and the base of each adapted layer, by PEFT's names."""
    found = []
    for name in weights:
        prefix, mark, rest = name.rpartition(_A)
        if mark:
            found.append((name, f"{prefix}{_B}{rest}", f"{prefix}base_layer.weight"))
    return found
