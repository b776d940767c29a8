"""NuSLERP: slerp between two sets by their weights, of whole tensors or of their rows or columns.

Source: mergekit's method of that name (https://github.com/arcee-ai/mergekit, version 0.1.5).
"""

from ..errors import BadParameter
from ..weights import Weights
from .around import Around
from .per import Per
from .per_vector import PerVector
from .rule import Rule
from .slerp import Slerp


def nuslerp(weights: tuple[float, ...], base: Weights | None = None, flatten: bool = True, columns: bool = False) -> Rule:
    """Slerp between two sets by their weights; with a base, of the differences from it.

    t = a_1 / (a_0 + a_1), which is 1/2 where the weights sum to 0.

    Args:
        weights: a_0 and a_1.
        base: the set that the differences are taken from.
        flatten: one angle for a whole tensor; else one for every vector along its last axis (the rows of a matrix).
        columns: without `flatten`, vectors along the first axis instead. This is mergekit's `nuslerp_row_wise`: its name for what runs
            down a column.

    Raises:
        BadParameter: weights whose t lies outside [0, 1].

    >>> nuslerp((1.0, 3.0))
    Per(by='tensor', rule=Slerp(t=0.75, straight=1.0))
    """
    if len(weights) != 2:
        raise BadParameter(f"nuslerp takes two weights, got {len(weights)}; multislerp and karcher take more.")
    total = sum(weights)
    inner = Slerp(0.5 if abs(total) < 1e-6 else weights[1] / total)
    if not flatten:
        vectors = PerVector(inner, axis=0 if columns else -1)
        return Around(base, vectors) if base is not None else vectors
    return Per("tensor", Around(base, inner) if base is not None else inner)
