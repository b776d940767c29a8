"""Evidence beside the sets: one set of statistics for each model, named after the tensors that it speaks about."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import BadParameter, NonFinite, ShapesDiffer, TooFewSets
from ..weights import Block, Weights
from ..weights.algebra import working
from ..weights.names import listed
from .sets import Sets


def match(rule: object, evidence: Sequence[Weights], n: int) -> None:
    """Raise unless there is one set of evidence for each of n sets."""
    if len(evidence) != n:
        raise TooFewSets(f"{type(rule).__name__} has evidence of {len(evidence)} models for {n} weight sets; give one for each, in the same order.")


def known(rule: object, evidence: Sequence[Weights], sets: Sets, unknown: str, same_shape: bool = True) -> frozenset[str]:
    """The tensors that all the evidence speaks about; raise where some is missing and that was not allowed."""
    if unknown not in ("raise", "mean"):
        raise BadParameter(f"{type(rule).__name__}: unknown must be 'raise' or 'mean', found {unknown!r}.")
    names = frozenset(name for name in sets.names if all(name in proof for proof in evidence))
    lacking = [name for name in sets.names if name not in names]
    if lacking and unknown == "raise":
        raise BadParameter(f"{type(rule).__name__}: no evidence for {listed(lacking)}; collect it, or average these with unknown='mean'.")
    for proof in evidence if same_shape else ():
        for name in names:
            if proof.spec[name].shape != sets.spec(name).shape:
                raise ShapesDiffer(f"tensor {name!r} has shape {sets.spec(name).shape}, its evidence {proof.spec[name].shape}.")
    return names


def opened(evidence: Sequence[Weights], name: str) -> list[Block]:
    """The evidence about a tensor, opened, none of it negative or non-finite."""
    return [_sound(working(proof, name), proof, name) for proof in evidence]


def _sound(read: Block, proof: Weights, name: str) -> Block:
    def block(lo: int, hi: int) -> Tensor:
        entries = read(lo, hi)
        if not torch.isfinite(entries.sum()):
            raise NonFinite(f"evidence {proof.label or ''} about tensor {name!r} holds NaN or Inf.")
        if (entries < 0).any():
            raise BadParameter(f"evidence {proof.label or ''} about tensor {name!r} is negative ({float(entries.min()):.3g}); a precision cannot be.")
        return entries

    return block
