"""Fusing: average the bodies of models fine-tuned on different tasks into a better start for the next task."""

from collections.abc import Sequence

from ..errors import unknown
from ..weights import Weights, matches
from ..weights.algebra import keep
from .combine import combine
from .mean import Mean


def fuse_bodies(sets: Sequence[Weights], heads: Sequence[str]) -> Weights:
    """Mean of all tensors but the task heads, whose shapes may differ from model to model; the result has no head.

    Paper: Fusing finetuned models for better pretraining (2022, https://arxiv.org/abs/2204.03044), section 2.

    Args:
        sets: fine-tunes of one pretrained model.
        heads: patterns of names that make up the heads; each must match something in every set.

    >>> import torch
    >>> a = Weights.of({"body": torch.tensor([1.0]), "head": torch.zeros(3)})
    >>> b = Weights.of({"body": torch.tensor([3.0]), "head": torch.zeros(5)})
    >>> dict(fuse_bodies([a, b], heads=["head*"]))
    {'body': tensor([2.])}
    """
    return combine([_without(weights, heads) for weights in sets], Mean())


def _without(weights: Weights, heads: Sequence[str]) -> Weights:
    for pattern in heads:
        if not any(matches(pattern, name) for name in weights.names):
            raise unknown("tensor that matches", pattern, weights.names)
    return keep(weights, [name for name in weights.names if not any(matches(pattern, name) for pattern in heads)])
