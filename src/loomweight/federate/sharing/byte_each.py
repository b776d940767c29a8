"""A strategy in which a client sends a byte a round.

Paper: Just One Byte (per gradient): A Note on Low-Bandwidth Decentralized Language Model Finetuning Using Shared Randomness (2023,
https://arxiv.org/abs/2306.10015).
"""

from dataclasses import replace

from torch import nn

from ..objectives import OneByteGradient
from ..pooling import OneByteStep
from ..strategy import Strategy


def byte_each(strategy: Strategy, model: nn.Module, lr: float, epsilon: float = 1e-3, seed: int = 0) -> Strategy:
    """The strategy with `OneByteGradient` and `OneByteStep`: parameters that are trained move along shared random directions, all else is kept.

    Args:
        strategy: with its settings; its other terms, message and aggregate are replaced.
        model: of the federation.
        lr: the step along the mean of g_i z_i.
        epsilon: how far losses are measured.
        seed: of the directions.

    >>> byte_each(Strategy(), nn.Linear(1, 1), lr=0.1).aggregate
    OneByteStep(lr=0.1, seed=0)
    """
    table = {name: "pool" for name, tensor in model.named_parameters() if tensor.requires_grad} | {"*": "keep"}
    return replace(strategy, objective=(OneByteGradient(epsilon, seed),), message=(), aggregate=OneByteStep(lr, seed), tensors=table)
