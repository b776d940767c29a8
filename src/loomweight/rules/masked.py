"""Entries that are NaN or Inf in some sets, decided by the others."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..errors import NonFinite
from ..shapes import Float

if TYPE_CHECKING:
    from .rule import Pointwise


def by_finite_sets(rule: "Pointwise", stack: Float[Tensor, "n p"], name: str) -> Float[Tensor, " p"]:
    """Apply a pointwise rule where all is finite, and the rule restricted to the finite sets where it is not.

    Raises:
        NonFinite: an entry is finite in no set.
    """
    finite = torch.isfinite(stack)
    if finite.all():
        return rule(stack)
    patterns, which = finite.unique(dim=1, return_inverse=True)
    result = stack.new_empty(stack.shape[1])
    for index, pattern in enumerate(patterns.T):
        kept = pattern.nonzero().flatten().tolist()
        if not kept:
            raise NonFinite(f"tensor {name!r} holds an entry that is NaN or Inf in all {len(stack)} sets; nothing is left to decide it.")
        here = which == index
        part = rule if len(kept) == len(stack) else rule.restricted(kept, len(stack))
        part.check(len(kept))
        result[here] = part(stack[kept][:, here])
    return result
