"""places: at which of several layers a network loses resolution.

Paper: Balanced Mixture of SuperNets for Learning the CNN Pooling Architecture (2023, https://arxiv.org/abs/2306.11982), section 3: a
configuration is the set of layers behind which feature maps are pooled. Layers of stride 2 are switched, pooling or convolution.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from math import comb
from typing import Any

from torch import nn
from torch.nn.modules import pooling

from ...errors import BadParameter
from ..draft import Draft, matching
from ..slots import Change
from ..space_table import Line

#: how many sets of places a space may have
_MOST = 10_000
_POOLING = (pooling._MaxPoolNd, pooling._AvgPoolNd)


def places(draft: Draft, line: Line) -> None:
    """`places blocks.* : 2`: two of the layers that match keep their stride of 2, the others get a stride of 1 (pooling then does nothing).

    Build the model with a stride of 2 at every place. A pattern that names blocks switches all such layers of a block at once. A
    choice is written by the numbers of its places, `0+2`, in the order of the model; the last one, which counts as the largest, loses
    resolution latest.
    """
    layers = {name: module for name, module in draft.model.named_modules() if _stride(module) == 2}
    matched = draft.found(line, layers, "layer with a stride of 2")
    spots: dict[str, list[nn.Module]] = {}
    for name in matched:
        spots.setdefault(matching(name, line.where), []).append(layers[name])
    if bad := [value for value in line.values if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= len(spots)]:
        raise BadParameter(f"{line.label}: {len(spots)} places match ({', '.join(spots)}); say how many of them, 0 to {len(spots)}; found {bad[0]!r}.")
    if sum(comb(len(spots), count) for count in line.values) > _MOST:
        raise BadParameter(f"{line.label}: there are more than {_MOST:,} sets of {line.values} among {len(spots)} places; name fewer.")
    options = tuple(_word(chosen) for count in line.values for chosen in sorted(combinations(range(len(spots)), count)))
    (field,) = draft.add(line, [(line.where, options, [])])
    for number, several in enumerate(spots.values()):
        for layer in several:
            draft.changes += _switched(layer, str(number), field)


def _word(chosen: Sequence[int]) -> str:
    return "+".join(map(str, chosen)) or "none"


def _stride(module: nn.Module) -> Any:
    stride = getattr(module, "stride", None) if isinstance(module, (nn.modules.conv._ConvNd, *_POOLING)) else None
    several = set(stride) if isinstance(stride, tuple) else {stride}
    return several.pop() if len(several) == 1 else None


def _switched(layer: Any, number: str, field: str) -> Iterator[Change]:
    """A convolution looks at every place; pooling becomes the identity."""
    pools = isinstance(layer, _POOLING)
    for key in ("stride", "kernel_size", "padding") if pools else ("stride",):
        kept = getattr(layer, key)
        off = 0 if key == "padding" else 1
        other = (off,) * len(kept) if isinstance(kept, tuple) else off
        yield Change(layer, "__dict__", key, (field,), lambda values, kept=kept, other=other: kept if number in values[field].split("+") else other)
