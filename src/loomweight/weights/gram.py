"""Inner products of whole weight sets, streamed once, exact where it matters.

Raw float32 products lose what robust rules look at: sets that differ by 1e-4 of their size have squared distances of 1e-8 of
the products. So every block is centred first; centred.py has the arithmetic. Big tensors are cut into segments on a fixed
grid, which several threads work on at once; the sums are taken in one order, so the result does not depend on the threads.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from math import sqrt
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..engines import current
from ..errors import BadParameter, NonFinite, Overflow
from ..shapes import Float, Float64
from .algebra import agree, refuse_integers, working
from .centred import CentredGram
from .spec import BLOCK, Block, spans
from .weights import Weights

# N = weight sets, K = chunks of a block, C = entries of a chunk
_CHUNK = 1 << 12
_SEGMENT = 16 * BLOCK  # entries of a tensor that one task reads
_READ = 1 << 24  # entries of all sets together that are read at once


def gram(sets: Sequence[Weights]) -> Float64[Tensor, "n n"]:
    """Matrix of inner products <w_i, w_j> over all physical tensors: each input read once, sums in float64.

    Raises:
        NonFinite: a set holds NaN or Inf.
        Overflow: squares of the entries exceed float64.
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
    total = np.zeros((len(sets), len(sets)))
    with np.errstate(invalid="ignore", over="ignore"):
        for part in current().map(_part, _tasks(sets)):
            total += part
    if not np.isfinite(total).all():
        refuse_nonfinite(sets)
        raise Overflow("the entries are so large that their inner products exceed float64; scale the sets down first.")
    return torch.from_numpy(total)


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


def refuse_nonfinite(sets: Sequence[Weights]) -> None:
    """Raise for the first entry that is NaN or Inf, if there is one: a pass over all sets."""
    for i, weights in enumerate(sets):
        for name in weights.physical:
            read = weights.open(name)
            for lo, hi in spans(weights.spec[name].numel):
                if len(bad := torch.isfinite(read(lo, hi)).logical_not_().nonzero()):
                    raise NonFinite(f"{weights.label or f'set {i}'}: tensor {name!r} holds NaN or Inf, first at flat entry {lo + int(bad[0])}.")


class _Opened:
    """A tensor of all sets, opened by the first thread that reads it, while others that read it wait."""

    def __init__(self, sets: Sequence[Weights], name: str) -> None:
        dtypes = {weights.spec[name].work for weights in sets}
        self._work = torch.float64 if torch.float64 in dtypes else torch.float32
        self._open = [partial(working, weights, name) for weights in sets]
        self._reads: list[Block] = []
        self._lock = Lock()

    def blocks(self, lo: int, hi: int) -> list[Tensor]:
        """These entries of every set, in one dtype."""
        with self._lock:
            self._reads = self._reads or [open_() for open_ in self._open]
        return [read(lo, hi).to(self._work) for read in self._reads]


def _tasks(sets: Sequence[Weights]) -> Iterator[tuple[_Opened, int, int, int]]:
    """Segments of all tensors, big tensors first: (tensor, from, to, number of sets)."""
    spec = sets[0].spec
    for name in sorted(sets[0].physical, key=lambda name: (-spec[name].numel, name)):
        opened = _Opened(sets, name)
        for lo, hi in spans(spec[name].numel, _SEGMENT):
            yield opened, lo, hi, len(sets)


def _part(task: tuple[_Opened, int, int, int]) -> NDArray[np.float64]:
    """The Gram matrix of one segment."""
    opened, first, last, n = task
    size = min(last - first, BLOCK, max(_CHUNK, _READ // n // _CHUNK * _CHUNK))
    total = CentredGram(n, size)
    for lo, hi in spans(last - first, size):
        total.add(opened.blocks(first + lo, first + hi))
    return total.value()


def products(rows_NP: Float[Tensor, "n p"]) -> Float64[Tensor, "n n"]:
    """rows @ rows.T by short chunks, summed in float64."""
    n, entries = rows_NP.shape
    whole = entries - entries % _CHUNK
    chunks_KNC = rows_NP[:, :whole].reshape(n, -1, _CHUNK).transpose(0, 1)
    tail_NC = rows_NP[:, whole:]
    return (chunks_KNC @ chunks_KNC.transpose(1, 2)).sum(0, dtype=torch.float64) + (tail_NC @ tail_NC.T).double()
