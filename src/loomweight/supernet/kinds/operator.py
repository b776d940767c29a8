"""operator: which of several modules stands in a place: the cells of a search space."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ...errors import unknown
from ..choice import Choice
from ..draft import Draft
from ..slots import Change
from ..space_table import Line


def operator(draft: Draft, line: Line) -> None:
    """`operator cells.* : skip conv3 conv5`: names of candidates of a `Choice` in the model; `*` stands for all. The last one counts as the largest."""
    places = {name: module for name, module in draft.model.named_modules() if isinstance(module, Choice)}
    matched = draft.found(line, places, "Choice")
    told = [(name, _names(line, name, places[name]), [f"{name}.{candidate}" for candidate in places[name].names]) for name in matched]
    for (name, names, _), field in zip(told, draft.add(line, told), strict=True):
        place = places[name]
        draft.kept[name] = (field, {candidate: (candidate,) for candidate in names})
        draft.changes.append(Change(place, "__dict__", "chosen", (field,), lambda values, field=field: values[field]))
        for candidate in place.names:
            draft.changes.append(Change(place, "_modules", candidate, (field,), _only(candidate, place, field)))


def _names(line: Line, name: str, place: Choice) -> tuple[str, ...]:
    if line.values == ("*",):
        return place.names
    found = tuple(map(str, line.values))
    for value in found:
        if value not in place.names:
            raise unknown(f"candidate of {name} ({line.label})", value, place.names)
    return found


def _only(candidate: str, place: Choice, field: str) -> Callable[[Mapping[str, Any]], nn.Module | None]:
    module = place._modules[candidate]
    return lambda values: module if values[field] == candidate else None
