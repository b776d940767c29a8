"""rank: how many directions a low-rank adapter has.

Paper: Low-Rank Adapters Meet Neural Architecture Search for LLM Compression (2025, https://arxiv.org/abs/2501.16372), section 2.1.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from ...weights.axes import Axes
from ..draft import Draft, homes, sizes_in
from ..slots import Change
from ..space_table import Line

#: what stands in the names of tensors between the layer's and the adapter's: PEFT's, and that of `derive.LowRank`
_MARKS = (".lora_A.", ".lora_embedding_A.", ".derived.")


def rank(draft: Draft, line: Line) -> None:
    """`rank *.q_proj : 2 4 8`: the first directions of a LoRA, as PEFT or `derive.LowRank` builds it; its scale stays that of the full rank."""
    places = ranks(draft.axes)
    matched = draft.found(line, places, "low-rank adapter")
    told = [(name, sizes_in(line, name, draft.axes.spaces[places[name]].size), homes(draft.axes, places[name])) for name in matched]
    modules = dict(draft.model.named_modules())
    for (name, _, _), field in zip(told, draft.add(line, told), strict=True):
        draft.spaces[places[name]] = field
        layer, _, adapter = name.rpartition(".")
        draft.changes += _told(modules.get(layer), adapter, field)


def ranks(axes: Axes) -> Mapping[str, str]:
    """Layer and adapter -> space of its directions."""
    return dict(_ranks(axes))


def _ranks(axes: Axes) -> Iterator[tuple[str, str]]:
    for tensor, layout in axes.layouts.items():
        mark = next((mark for mark in _MARKS if mark in tensor), None)
        axis = layout.axes[0] if layout.axes else ()
        units = axis[0][0] if len(axis) == 1 and len(axis[0]) == 1 else None
        if mark and isinstance(units, str) and (mark != ".derived." or tensor.endswith(".down")):
            layer, _, adapter = tensor.partition(mark)
            yield f"{layer}.{adapter.partition('.')[0]}", units


def _told(layer: nn.Module | None, adapter: str, field: str) -> Iterator[Change]:
    """PEFT's layers keep the rank of each adapter in a dict."""
    ranks: Any = getattr(layer, "r", None)
    if layer is not None and isinstance(ranks, dict) and adapter in ranks:
        yield Change(layer, "__dict__", "r", (field,), lambda values: {**ranks, adapter: values[field]})
