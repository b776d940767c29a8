"""Inner products of whole weight sets, streamed once, exact where it matters.

Raw float32 products lose what robust rules look at: sets that differ by 1e-4 of their size have distances of 1e-8 of the
products. So every block is centred first: with r_0 = w_0 and r_i = w_i - w_0, the small matrix R = r r^T is summed over
chunks in float64, and the Gram matrix is T R T^T, where w = T r. Differences keep their own full precision.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor

from ..engines import current
from ..errors import BadParameter, NonFinite
from ..shapes import Float, Float64
from .algebra import agree, refuse_integers, working
from .names import listed
from .spec import spans
from .weights import Weights

# N = weight sets, K = chunks of a block, C = entries of a chunk
_CHUNK = 1 << 12


def gram(sets: Sequence[Weights]) -> Float64[Tensor, "n n"]:
    """Matrix of inner products <w_i, w_j> over all physical tensors: each input read once, sums in float64.

    Raises:
        NonFinite: a set holds NaN or Inf.
        IntegersDiffer: a set holds integer tensors, which have no inner product.

    >>> a, b = Weights.of({"w": torch.tensor([3.0, 4.0])}), Weights.of({"w": torch.tensor([1.0, 0.0])})
    >>> gram([a, b])
    tensor([[25.,  3.],
            [ 3.,  1.]], dtype=torch.float64)
    """
    if not sets:
        raise BadParameter("a Gram matrix needs at least one weight set.")
    refuse_integers(sets[0])
    for left, right in pairwise(sets):
        agree(left, right)
    biggest_first = sorted(sets[0].physical, key=lambda name: (-sets[0].spec[name].numel, name))
    total = torch.zeros(len(sets), len(sets), dtype=torch.float64)
    for part in current().map(lambda name: _centred(sets, name), biggest_first):
        total += part
    result = _uncentred(total)
    if bad := [sets[i].label or f"set {i}" for i in range(len(sets)) if not torch.isfinite(result[i]).all()]:
        finite = [i for i in range(len(sets)) if torch.isfinite(result[i, i])]
        culprits = [sets[i].label or f"set {i}" for i in range(len(sets)) if i not in finite] or bad
        raise NonFinite(f"NaN or Inf in {listed(culprits)}; run `loomweight inspect` to see where.")
    return result


def dot(left: Weights, right: Weights) -> float:
    """Inner product of two sets, summed in float64.

    >>> w = Weights.of({"w": torch.tensor([3.0, 4.0])})
    >>> dot(w, w), norm(w)
    (25.0, 5.0)
    """
    return float(gram([left, right])[0, 1])


def norm(weights: Weights) -> float:
    """Euclidean norm over all physical tensors, summed in float64."""
    return sqrt(max(float(gram([weights])[0, 0]), 0.0))


def _centred(sets: Sequence[Weights], name: str) -> Float64[Tensor, "n n"]:
    spec = sets[0].spec[name]
    reads = [working(weights, name) for weights in sets]
    total = torch.zeros(len(sets), len(sets), dtype=torch.float64)
    for lo, hi in spans(spec.numel):
        rows = torch.stack([read(lo, hi) for read in reads])
        rows[1:] -= rows[0].clone()
        total += products(rows)
    return total


def products(rows_NP: Float[Tensor, "n p"]) -> Float64[Tensor, "n n"]:
    """rows @ rows.T by short chunks, summed in float64."""
    n, entries = rows_NP.shape
    whole = entries - entries % _CHUNK
    chunks_KNC = rows_NP[:, :whole].reshape(n, -1, _CHUNK).transpose(0, 1)
    tail_NC = rows_NP[:, whole:]
    return (chunks_KNC @ chunks_KNC.transpose(1, 2)).sum(0, dtype=torch.float64) + (tail_NC @ tail_NC.T).double()


def _uncentred(total: Float64[Tensor, "n n"]) -> Float64[Tensor, "n n"]:
    back = torch.eye(len(total), dtype=torch.float64)
    back[:, 0] = 1
    return back @ total @ back.T
