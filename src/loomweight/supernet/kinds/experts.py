"""experts: how many experts of a mixture are used."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ..draft import Draft, sizes_in
from ..parts import Cut
from ..slots import Change
from ..space_table import Line

#: attributes that say how many experts a token is sent to
_CHOSEN = ("top_k", "topk", "num_experts_per_tok", "k")


@dataclass
class _Experts:
    """A mixture: where its experts and the rows of its router are.

    Args:
        count: how many there are.
        lists: (module, child) of lists of experts.
        fused: tensors whose first axis runs over experts.
        router: tensors whose first axis runs over the scores of experts.
    """

    count: int
    lists: list[tuple[nn.Module, str]] = field(default_factory=list)
    fused: list[str] = field(default_factory=list)
    router: list[str] = field(default_factory=list)


def experts(draft: Draft, line: Line) -> None:
    """`experts layers.*.mlp : 2 4 8`: the first experts of a mixture, and the rows of the router that score them; never more are chosen than there are.

    A mixture is a module with a list of experts, or with tensors (experts, ., .) as Transformers keeps them, and a router beside it.
    """
    places = dict(_places(draft))
    matched = draft.found(line, places, "mixture of experts (a list of experts, or tensors of all experts, with a router beside it)")
    told = [(name, sizes_in(line, name, places[name].count), [name]) for name in matched]
    modules = dict(draft.model.named_modules())
    for (name, sizes, _), of in zip(told, draft.add(line, told), strict=True):
        place = places[name]
        for tensor in (*place.fused, *place.router):
            draft.windows.setdefault(tensor, {})[0] = Cut(place.count, of)
        for parent, child in place.lists:
            draft.changes.append(Change(parent, "_modules", child, (of,), _first(parent._modules[child], of)))
            listing = f"{name}.{child}" if name else child
            draft.kept[listing] = (of, {size: tuple(map(str, range(size))) for size in sizes})
        for module in modules[name].modules():
            draft.changes += _numbers(module, place.count, of)


def _places(draft: Draft) -> Iterator[tuple[str, _Experts]]:
    for name, module in draft.model.named_modules():
        found = _listed(name, module, draft) or _fused(name, module, draft)
        if found and found.router:
            yield name, found


def _listed(name: str, module: nn.Module, draft: Draft) -> _Experts | None:
    """A child that is a list of alike modules, and a router among the other children."""
    for child, inner in module.named_children():
        if isinstance(inner, nn.ModuleList) and len(inner) > 1 and len({type(expert) for expert in inner}) == 1:
            router = list(_scoring(name, module, child, len(inner), draft))
            if router:
                return _Experts(len(inner), [(module, child)], [], router)
    return None


def _fused(name: str, module: nn.Module, draft: Draft) -> _Experts | None:
    for child, inner in module.named_children():
        stacked = [key for key, tensor in inner._parameters.items() if tensor is not None and tensor.ndim == 3]
        counts = {inner._parameters[key].shape[0] for key in stacked}  # type: ignore[union-attr]
        if len(counts) == 1 and (count := counts.pop()) > 1:
            prefix = f"{name}.{child}" if name else child
            alike = [key for key, tensor in inner._parameters.items() if tensor is not None and tensor.shape[0] == count]
            return _Experts(count, [], [f"{prefix}.{key}" for key in alike], list(_scoring(name, module, child, count, draft)))
    return None


def _scoring(name: str, module: nn.Module, without: str, count: int, draft: Draft) -> Iterator[str]:
    """Tensors beside the experts that have a row for each of them, and whose rows are no units of anything."""
    for child, inner in module.named_children():
        for key, tensor in (*inner._parameters.items(), *inner._buffers.items()):
            full = ".".join(part for part in (name, child, key) if part)
            layout = draft.axes.layouts.get(full)
            if child != without and tensor is not None and tensor.ndim and tensor.shape[0] == count and layout and layout.axes[0] == ((count,),):
                yield full


def _first(blocks: Any, of: str) -> Any:
    made = {len(blocks): blocks}

    def choose(values: Mapping[str, Any]) -> nn.Module:
        count = values[of] if isinstance(values[of], int) else round(values[of] * len(blocks))
        if count not in made:
            made[count] = nn.ModuleList(list(blocks)[:count])
        return made[count]

    return choose


def _numbers(module: nn.Module, count: int, of: str) -> Iterator[Change]:
    """Attributes that repeat how many experts there are, and how many are chosen."""

    def size(values: Mapping[str, Any]) -> int:
        return values[of] if isinstance(values[of], int) else round(values[of] * count)

    for key, value in vars(module).items():
        if type(value) is not int:
            continue
        if key in _CHOSEN and value <= count:
            yield Change(module, "__dict__", key, (of,), lambda values, value=value: min(value, size(values)))
        elif value == count and "expert" in key and key not in _CHOSEN:
            yield Change(module, "__dict__", key, (of,), size)
