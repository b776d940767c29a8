"""Zeroth-order gradients of one byte each: the arithmetic, without a model, a process or a file.

Paper: Just One Byte (per gradient): A Note on Low-Bandwidth Decentralized Language Model Finetuning Using Shared Randomness (2023,
https://arxiv.org/abs/2306.10015), section 3.

Code read: ezelikman/justonebyte at commit 19ba089, app.py. We differ. Its byte holds the rounded logarithm alone; the sign goes beside it, and what is sent is
the unrounded number. Ours has the sign and 7 bits of logarithm, over the same range, from e^-7.9 to e^7.9, at twice the distance; one value says that a machine
has nothing to say. The size of perturbations is fixed; theirs is learned. Weights are put back from a copy, not by subtracting what was added.
"""

from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from math import exp, isfinite, log

import torch
from torch import Tensor

#: (seed, machine, step): whose perturbation it is
Key = tuple[int, str, int]
#: the byte of a machine that has no finite gradient
NOTHING = -128
_STEP, _MIDDLE = 8, 64


def encoded(gradient: float) -> int:
    """A byte, -127 to 127: the sign, and 64 + 8 ln |g| rounded; 0 for less than e^-7.9, `NOTHING` for NaN and Inf.

    >>> [encoded(g) for g in (1.0, -2.0, 0.0, 1e-9, 1e9, float("nan"))]
    [64, -70, 0, 0, 127, -128]
    """
    if not isfinite(gradient):
        return NOTHING
    if gradient == 0:
        return 0
    level = min(127, round(_MIDDLE + _STEP * log(abs(gradient))))
    return 0 if level < 1 else (level if gradient > 0 else -level)


def decoded(byte: int) -> float:
    """The number that a byte stands for, within a factor of e^(1/16) of what was encoded.

    >>> [round(decoded(byte), 3) for byte in (64, -70, 0)]
    [1.0, -2.117, 0.0]
    """
    if byte in (0, NOTHING):
        return 0.0
    return (1 if byte > 0 else -1) * exp((abs(byte) - _MIDDLE) / _STEP)


def direction(key: Key, name: str, like: Tensor) -> Tensor:
    """z, standard normal, the same for the same key and tensor's name in every process of one version of torch.

    >>> z = direction((0, "a", 3), "w", torch.zeros(2))
    >>> bool(z.equal(direction((0, "a", 3), "w", torch.zeros(2)))), bool(z.equal(direction((0, "b", 3), "w", torch.zeros(2))))
    (True, False)
    """
    word = int.from_bytes(blake2b(repr((*key, name)).encode(), digest_size=8).digest(), "big")
    generator = torch.Generator().manual_seed(word >> 1)
    return torch.randn(like.shape, generator=generator, dtype=torch.float32).to(like.device)


@torch.no_grad()
def moved(weights: Mapping[str, Tensor], key: Key, factor: float) -> None:
    """weights <- weights + factor z(key), in place, a tensor at a time."""
    for name, tensor in weights.items():
        tensor.add_(direction(key, name, tensor).to(tensor.dtype), alpha=factor)


def projected(loss: Callable[[], float], weights: Mapping[str, Tensor], key: Key, epsilon: float) -> float:
    """(L(theta + epsilon z) - L(theta - epsilon z)) / (2 epsilon), the derivative along z; the weights are as they were, to the bit.

    Args:
        loss: of the weights as they are now.
        weights: live tensors, which are changed and put back.
        key: of z.
        epsilon: how far.
    """
    before = {name: tensor.detach().clone() for name, tensor in weights.items()}
    try:
        moved(weights, key, epsilon)
        above = loss()
        _put_back(weights, before)
        moved(weights, key, -epsilon)
        below = loss()
    finally:
        _put_back(weights, before)
    return (above - below) / (2 * epsilon)


def applied(weights: Mapping[str, Tensor], seed: int, step: int, bytes_: Iterable[tuple[str, int]], lr: float) -> None:
    """theta <- theta - lr mean_i g_i z_i over the machines that have something to say, in place; the same bits wherever it is done in the same order."""
    heard = [(machine, byte) for machine, byte in bytes_ if byte != NOTHING]
    for machine, byte in heard:
        if byte:
            moved(weights, (seed, machine, step), -lr * decoded(byte) / len(heard))


@torch.no_grad()
def _put_back(weights: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> None:
    for name, tensor in weights.items():
        tensor.copy_(before[name])
