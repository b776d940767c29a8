"""Bring a network of another depth into the coordinates of a reference: layers are matched in order, the depth is balanced, units are transported.

Paper: On Cross-Layer Alignment for Model Fusion of Heterogeneous Neural Networks (2021, https://arxiv.org/abs/2110.15538).
Original code: https://github.com/hsgser/clafusion, align_layers.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..edits.carry import Carry
from ..edits.edit import Edit
from ..errors import BadParameter
from ..weights import Block, Spec, Weights
from ..weights.axes.table import Axes
from .balance import Balance
from .layer_match import LayerEvidence
from .ot_fusion import ot_fusion
from .plan_depth import Depth
from .stages import Stage
from .transport import EXACT, Transport


def cla_fusion(
    axes_moving: Axes,
    moving: Weights,
    axes_reference: Axes,
    reference: Weights,
    *,
    layers: Sequence[str | Stage] | None = None,
    evidence: LayerEvidence | None = None,
    transport: Transport = EXACT,
) -> "OtherDepth":
    """Map a network into the depth, width and coordinates of another: match layers, balance the depth, then `ot_fusion`.

    a = argmin over a(1) < ... < a(n) of sum_k cost(k, a(k)): each of the n layers of the shallower network, in order, stands for
    one of the deeper one's, found by dynamic programming. Only layers of one kind are matched (the same tensors; a layer of fixed
    inputs or outputs with such a layer).

    The moving network is the shallower: it gets layers that change nothing. In a chain of linear layers or convolutions an
    identity matrix or kernel behind a ReLU (batch norms that divide by 1), in a residual network blocks whose last layer is 0. It
    computes what it did before. It is the deeper (chains of linear layers alone): layers that nothing stands for are merged
    into the next, the ReLU between them replaced by a diagonal of zeros and ones, which needs `evidence`. This changes the function.

    We differ from the authors: with no data their code matches layers by number, which is the first layers; we by
    relative depth. Added residual blocks have the reference's own weights everywhere but in the last layer, so that an average
    halves the reference's block and leaves its inside alone (theirs are 0 throughout, in networks without norms). Behind a norm that
    follows the residual sum (BERT), an added block normalises once more: there the function is not kept exactly.

    Args:
        axes_moving: the table of the moving network.
        moving: is mapped.
        axes_reference: the table of the reference.
        reference: stays.
        layers: patterns such as "h.*", the star for the layer's number, or stages by hand. By default every run of numbered names
            whose numbers differ.
        evidence: what data says of the layers, from `layer_evidence` with the same `layers`; without it relative depth decides.
        transport: of the units.

    Returns:
        The edit: `edit(moving)` has the names and shapes of the reference and can be combined with it.

    Raises:
        NamesDiffer: tensors outside of the layers differ.
        ShapesDiffer: a matched pair of tensors has different axes.
        UnknownName: no such layers.
        BadParameter: layers of one kind are missing, an identity is not possible, or merging needs evidence.
        MissingExtra: POT is needed and not installed.

    >>> from loomweight.weights.axes import axes
    >>> relu, line = torch.nn.ReLU(), torch.nn.Linear
    >>> shallow = torch.nn.Sequential(line(3, 6), relu, line(6, 2))
    >>> deep = torch.nn.Sequential(line(3, 6), relu, line(6, 6), relu, line(6, 2))
    >>> x = torch.rand(4, 3)
    >>> sets = [Weights.of(model.state_dict()) for model in (shallow, deep)]
    >>> edit = cla_fusion(axes(shallow, x), sets[0], axes(deep, x), sets[1])
    >>> deep.load_state_dict(dict(edit(sets[0])))
    <All keys matched successfully>
    >>> assert torch.allclose(deep(x), shallow(x), atol=1e-6)
    """
    axes_moving.fits(moving)
    axes_reference.fits(reference)
    depth = Depth(axes_moving, moving, axes_reference, reference)
    depth.match(layers, evidence)
    balance = depth.balance()
    quiet = replace(transport, statistics=(*transport.statistics, *sorted(depth.added)))
    carry = ot_fusion(balance.axes, balance(moving), axes_reference, reference, transport=quiet)
    return OtherDepth(balance, carry, reference, tuple(sorted(depth.kept)))


@dataclass(frozen=True, eq=False)
class OtherDepth(Edit):
    """Balance the depth, carry the units; inside added residual blocks the reference's weights.

    Args:
        balance: gives the new set of tensors.
        carry: maps its units.
        reference: where what is inside added blocks is from.
        kept: the tensors that are the reference's.
    """

    balance: Balance
    carry: Carry
    reference: Weights
    kept: tuple[str, ...] = ()

    def __call__(self, weights: Weights) -> Weights:
        """The mapped set, lazily, with the reference's names and shapes."""
        carried = self.carry(self.balance(weights))
        spec = {name: replace(found, dtype=self.reference.spec[name].dtype) if name in self.kept else found for name, found in carried.spec.items()}

        def open_(name: str) -> Block:
            return (self.reference if name in self.kept else carried).open(name)

        sources = tuple(dict.fromkeys((*weights.sources, *self.reference.sources)))
        return Weights(spec, open_, ties=carried.ties, origin=("other depth", weights, self), label=weights.label, sources=sources)

    def over(self, weights: Weights) -> Callable[[str], Block]:
        """Names change, so only a call can say what becomes of a set."""
        return self.balance.over(weights)

    def bind(self, name: str, spec: Spec, read: Block) -> Block:
        """One tensor alone says nothing."""
        raise BadParameter("a network of another depth has other tensors; call the edit itself: edit(weights).")
