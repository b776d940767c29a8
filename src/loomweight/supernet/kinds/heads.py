"""heads, queries, head_size: the inside of attention."""

from collections.abc import Sequence

from ...errors import BadParameter
from ..draft import Draft, homes, sizes_in
from ..space_table import Line


def heads(draft: Draft, line: Line) -> None:
    """`heads layers.* : 2 4`: attention heads; where queries share keys and values, the groups (key-value heads)."""
    _add(draft, line, {name.removesuffix(".heads"): [name] for name in draft.axes.spaces if name.endswith(".heads")}, "attention heads")


def queries(draft: Draft, line: Line) -> None:
    """`queries layers.* : 1 2 4`: query heads of each key-value head, in grouped-query attention."""
    places = {name.removesuffix(".queries"): [name] for name in draft.axes.spaces if name.endswith(".queries")}
    _add(draft, line, places, "grouped queries")


def head_size(draft: Draft, line: Line) -> None:
    """`head_size layers.* : 32 64`: entries of each head, of queries, keys and values alike.

    Heads that carry rotary positions have no such size: their entries belong to angles.
    """
    axes = draft.axes
    places: dict[str, list[str]] = {}
    for parent in (name for name in axes.spaces if name.endswith(".heads")):
        inner = [name for name in axes.children(parent) if name.rpartition(".")[2] in ("dims", "values")]
        if any(name.rpartition(".")[0] == parent.rpartition(".")[0] and name.endswith(".dims") for name in inner):
            places[parent.removesuffix(".heads")] = inner
    _add(draft, line, places, "head size that may vary (rotary positions fix it)")


def _add(draft: Draft, line: Line, places: dict[str, list[str]], what: str) -> None:
    told: list[tuple[str, tuple[int, ...], Sequence[str]]] = []
    matched = draft.found(line, places, what)
    for place in matched:
        sizes = {draft.axes.spaces[space].size for space in places[place]}
        if len(sizes) > 1:
            raise BadParameter(f"{line.label}: {place} has parts of sizes {sorted(sizes)} that cannot vary as one.")
        told.append((place, sizes_in(line, place, sizes.pop()), [home for space in places[place] for home in homes(draft.axes, space)]))
    for place, field in zip(matched, draft.add(line, told), strict=True):
        for space in places[place]:
            draft.spaces[space] = field
