"""Kinds of what may vary: the first word of a line of a space. A file each; a kind adds fields and changes to a draft."""

from collections.abc import Callable, Mapping

from ..draft import Draft
from ..space_table import Line
from .bits import bits
from .depth import depth
from .experts import experts
from .heads import head_size, heads, queries
from .kernel import kernel
from .operator import operator
from .places import places
from .rank import rank
from .resolution import resolution
from .stride import stride
from .width import embedding, width

#: words that may follow the values of some kinds
OF_KINDS: Mapping[str, str] = {"spread": "depth", "transforms": "kernel"}

KINDS: Mapping[str, Callable[[Draft, Line], None]] = {
    "width": width,
    "embedding": embedding,
    "heads": heads,
    "queries": queries,
    "head_size": head_size,
    "depth": depth,
    "kernel": kernel,
    "stride": stride,
    "resolution": resolution,
    "operator": operator,
    "places": places,
    "experts": experts,
    "bits": bits,
    "rank": rank,
}
