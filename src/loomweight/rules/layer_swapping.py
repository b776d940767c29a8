"""Layer swapping: outer layers of one expert, inner layers of another, a blend in between."""

from ..errors import BadParameter
from .mean import Mean
from .route import Route
from .rule import Rule
from .take import Take


def layer_swapping(layers: int, bottom: int, top: int, transition: int = 1, prefix: str = "model.layers") -> Rule:
    """For two sets (inner expert, outer expert): the outer one's first `bottom` and last `top` layers, the inner one's rest.

    `transition` layers on either side of a cut, within the inner expert's part, are the mean of both. Tensors outside the
    layers (embeddings, head, last norm) are the mean of both.

    Paper: Layer Swapping for Zero-Shot Cross-Lingual Transfer in Large Language Models (2024,
    https://arxiv.org/abs/2410.01335), section 4.

    Args:
        layers: how many transformer layers the models have.
        bottom: layers taken from the outer expert at the input side.
        top: layers taken from the outer expert at the output side.
        transition: layers blended next to each cut.
        prefix: what the layers' names begin with, before the number.

    Raises:
        BadParameter: the parts overlap or exceed the number of layers.

    >>> [(pattern, type(rule).__name__) for pattern, rule in layer_swapping(4, bottom=1, top=1, transition=1).table][:2]
    [('model.layers.0.*', 'Take'), ('model.layers.1.*', 'Mean')]
    """
    if min(bottom, top, transition) < 0 or not 0 < bottom + top + 2 * transition <= layers:
        raise BadParameter(f"bottom + top + 2 * transition must lie in [1, {layers}], found {bottom} + {top} + 2 * {transition}.")
    outer = set(range(bottom)) | set(range(layers - top, layers))
    blend = set(range(bottom, bottom + transition)) | set(range(layers - top - transition, layers - top))
    chosen = {i: Take(1) if i in outer else Mean() if i in blend else Take(0) for i in range(layers)}
    return Route((*((f"{prefix}.{i}.*", rule) for i, rule in chosen.items()), ("*", Mean())))
