"""An edit of some tensors only.

Paper: Robust Weight Signatures: Gaining Robustness as Easy as Patching Weights? (2023, https://arxiv.org/abs/2302.12480),
whose signatures are kept in the shallowest layers only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self

from ..errors import unknown
from ..weights import Block, Spec, Weights, matches
from ..weights.algebra import each, keep
from .edit import Edit


@dataclass(frozen=True)
class Where(Edit):
    """Apply `edit` to the tensors whose names match any of the patterns, and `otherwise` (None: nothing) to the rest.

    A tensor that several names share is one tensor: it is edited where any of its names matches. Groups (a layer's or the
    model's threshold) are made of the tensors that match.

    Args:
        patterns: `*` matches any run of characters, `?` one.
        edit: for the tensors that match.
        otherwise: for the others; `Zero()` keeps a difference in the matching tensors only.

    Raises:
        UnknownName: a pattern matches no tensor.

    >>> import torch
    >>> from loomweight.edits import Scale, Zero
    >>> w = Weights.of({"layers.0.weight": torch.ones(2), "head.weight": torch.ones(2)})
    >>> dict(Where(("layers.*",), Scale(3.0), otherwise=Zero())(w))
    {'layers.0.weight': tensor([3., 3.]), 'head.weight': tensor([0., 0.])}
    """

    patterns: tuple[str, ...]
    edit: Edit
    otherwise: Edit | None = None

    def on_stream(self, stream: int) -> Self:
        """Both edits on that stream."""
        return replace(self, edit=self.edit.on_stream(stream), otherwise=self.otherwise and self.otherwise.on_stream(stream))

    def restricted(self, kept: Sequence[int]) -> Self:
        """Both edits restricted."""
        return replace(self, edit=self.edit.restricted(kept), otherwise=self.otherwise and self.otherwise.restricted(kept))

    def bind(self, name: str, spec: Spec, read: Block) -> Block:
        """The edit that is this tensor's, by its own name alone."""
        chosen = self.edit if self._fits(name) else self.otherwise
        return chosen.bind(name, spec, read) if chosen else read

    def over(self, weights: Weights) -> Callable[[str], Block]:
        """Each edit over the tensors that are its."""
        for pattern in self.patterns:
            if not any(matches(pattern, name) for name in weights.names):
                raise unknown("tensor that matches", pattern, weights.names)
        fitting = {weights.ties.get(name, name) for name in weights.names if self._fits(name)}
        inside = [name for name in weights.physical if name in fitting]
        outside = [name for name in weights.physical if name not in fitting]
        first = self.edit.over(keep(weights, inside))
        second = self.otherwise.over(keep(weights, outside)) if self.otherwise else each(weights, lambda name, spec, read: read)
        return lambda name: (first if name in fitting else second)(name)

    def _fits(self, name: str) -> bool:
        return any(matches(pattern, name) for pattern in self.patterns)
