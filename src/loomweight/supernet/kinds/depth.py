"""depth: how many blocks of a list are used."""

from collections.abc import Callable
from typing import Any

from torch import nn

from ...errors import BadParameter
from ..draft import Draft, sizes_in
from ..slots import Change
from ..space_table import Line


def depth(draft: Draft, line: Line) -> None:
    """`depth layers : 2 3 4`: the first blocks of a ModuleList or Sequential; with `spread`, blocks at even distances, first and last kept."""
    modules = dict(draft.model.named_modules())
    lists = {name: module for name, module in modules.items() if name and isinstance(module, nn.ModuleList | nn.Sequential) and len(module)}
    matched = draft.found(line, lists, "list of blocks (ModuleList or Sequential inside the model)")
    matched = [name for name in matched if not any(name.startswith(f"{other}.") for other in matched)]
    told = [(name, sizes_in(line, name, len(lists[name])), [f"{name}.{i}" for i in range(len(lists[name]))]) for name in matched]
    for (name, sizes, _), field in zip(told, draft.add(line, told), strict=True):
        kept = {size: positions(len(lists[name]), size, spread="spread" in line.words) for size in sizes}
        parent, _, leaf = name.rpartition(".")
        draft.changes.append(Change(modules[parent], "_modules", leaf, (field,), _choose(lists[name], field, kept)))
        draft.kept[name] = (field, {size: tuple(map(str, several)) for size, several in kept.items()})


def positions(length: int, count: int, *, spread: bool) -> tuple[int, ...]:
    """Which blocks of a list stay.

    >>> positions(6, 3, spread=False), positions(7, 3, spread=True)
    ((0, 1, 2), (0, 3, 6))
    """
    if not spread:
        return tuple(range(count))
    if count == 1:
        return (0,)
    return tuple(round(i * (length - 1) / (count - 1)) for i in range(count))


def _choose(blocks: Any, field: str, kept: dict[int, tuple[int, ...]]) -> Callable[[Any], nn.Module]:
    children = list(blocks)
    made: dict[int, nn.Module] = {}
    plain = type(blocks) in (nn.ModuleList, nn.Sequential)

    def choose(values: Any) -> nn.Module:
        count = values[field] if isinstance(values[field], int) else round(values[field] * len(children))
        if count == len(children):
            return blocks
        if not plain:
            raise BadParameter(f"depth: {type(blocks).__name__} is a class of its own; only ModuleList and Sequential can be shortened.")
        if count not in made:
            chosen = [children[i] for i in kept[count]]
            made[count] = nn.ModuleList(chosen) if isinstance(blocks, nn.ModuleList) else nn.Sequential(*chosen)
        return made[count]

    return choose
