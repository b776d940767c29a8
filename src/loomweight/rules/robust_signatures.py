"""Robust weight signatures: patches that add robustness to one kind of corruption each, and can be taken off again."""

from ..edits import Edit, Orthogonal, Quantise, Where, Zero
from ..errors import BadParameter
from ..weights import Weights
from .around import Around
from .mean import Mean
from .rule import Rule


def robust_signatures(base: Weights, shallow: tuple[str, ...], strengths: tuple[float, ...] | None = None, bits: int | None = 8) -> Rule:
    """base + sum_c alpha_c signature_c for sets that were trained on corruption c from the clean model `base`.

    signature_c is the difference from the base, of shallow tensors only, without its part along the base's own tensor, and
    quantised. A strength of 0 takes a patch off, another scales it.

    Paper: Robust Weight Signatures: Gaining Robustness as Easy as Patching Weights? (2023, https://arxiv.org/abs/2302.12480).
    The projection is our reading of its "weight difference after projection": each tensor's part along the base is removed.

    Args:
        base: the model trained on clean data.
        shallow: patterns of the shallow layers' names; the rest of the base stays as it is.
        strengths: alpha_c, one a set; None is 1 for each.
        bits: of the stored signatures; None keeps them whole.

    Raises:
        BadParameter: no pattern is given.

    >>> import torch, loomweight as lw
    >>> clean = lw.Weights.of({"h.0.w": torch.tensor([1.0, 0.0]), "h.9.w": torch.tensor([1.0])})
    >>> foggy = {"h.0.w": torch.tensor([1.5, 2.0]), "h.9.w": torch.tensor([7.0])}
    >>> dict(lw.combine([foggy], robust_signatures(clean, shallow=("h.0.*",), bits=None)))
    {'h.0.w': tensor([1., 2.]), 'h.9.w': tensor([1.])}
    """
    if not shallow:
        raise BadParameter("robust_signatures: name the shallow layers, as in shallow=('layers.0.*', 'layers.1.*').")
    edits: tuple[Edit, ...] = (Where(shallow, Orthogonal(base), otherwise=Zero()),)
    if bits is not None:
        edits = (*edits, Where(shallow, Quantise(bits)))
    return Around(base, Mean(strengths, normalize=False), edits)
