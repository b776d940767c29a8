"""Keep what a mask keeps."""

from collections.abc import Callable
from dataclasses import dataclass

from ..errors import NamesDiffer, ShapesDiffer
from ..weights import Block, Spec, Weights
from ..weights.names import difference
from .edit import Edit
from .only import only


@dataclass(frozen=True)
class Mask(Edit):
    """x where the mask is not 0, else 0.

    Args:
        masks: a set with the same names and shapes, of any dtype, booleans too.

    Raises:
        NamesDiffer: the masks have other names.
        ShapesDiffer: a mask has another shape.

    >>> import torch
    >>> Mask(Weights.of({"w": torch.tensor([True, False])})).apply(torch.tensor([5.0, 3.0]), "w")
    tensor([5., 0.])
    """

    masks: Weights

    def bind(self, name: str, spec: Spec, read: Block) -> Block:
        """Open the mask beside the tensor."""
        kept = self.masks.open(name)
        if self.masks.spec[name].shape != spec.shape:
            raise ShapesDiffer(f"tensor {name!r} has shape {spec.shape} and its mask {self.masks.spec[name].shape}; they must be the same.")
        return lambda lo, hi: only(read(lo, hi), kept(lo, hi) != 0)

    def over(self, weights: Weights) -> Callable[[str], Block]:
        """Compare the names before any data is read."""
        if lacking := difference(weights.names, self.masks.names):
            raise NamesDiffer(f"the weights and their masks hold different tensors: {lacking}; make a mask for each, or edit fewer with Where.")
        return super().over(weights)
