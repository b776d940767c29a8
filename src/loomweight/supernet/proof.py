"""The proof that a subnet is put together rightly: its units, exchanged, leave its function as it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from ..errors import BadParameter
from ..weights.axes import Axes, Layout, verify_together
from .sizes import size_of


@dataclass(frozen=True)
class Subnet:
    """What is known of a subnet.

    Args:
        axes: the table of the whole model.
        fields: space -> its field.
        values: the configuration.
        names: module of the subnet -> its name in the whole model; a block of a shortened list may have moved up.
    """

    axes: Axes
    fields: Mapping[str, str]
    values: Mapping[str, Any]
    names: Mapping[str, str]

    def layouts(self, table: Axes, state: Mapping[str, Tensor]) -> dict[str, Layout]:
        """Those of the subnet's tensors; one that the table does not know stays as it is."""
        found = {}
        for name, tensor in state.items():
            prefix, _, leaf = name.rpartition(".")
            owner = self.names.get(prefix, prefix)
            layout = table.layouts.get(f"{owner}.{leaf}" if owner else leaf) or Layout(tuple(((n,),) for n in tensor.shape))
            found[name] = _fitted(table, layout, tuple(tensor.shape))
        return found


def disproved(subnet: Subnet, plain: nn.Module, example: tuple[tuple[Any, ...], dict[str, Any]], outputs: Callable[[Any], Any] | None) -> str:
    """Why the exported subnet is wrong, or "": the table of the whole model, with the subnet's sizes, must hold for it.

    An attribute that was taken for the wrong size, say, may run and still mix up heads; then exchanging units changes the outputs.
    """
    axes, values = subnet.axes, subnet.values
    table = axes.resized({space: size_of(values[field], axes.spaces[space].size) for space, field in subnet.fields.items()})
    here = subnet.layouts(table, plain.state_dict())
    used = {factor for layout in here.values() for axis in layout.axes for term in axis for factor in term if isinstance(factor, str)}
    spaces = {name: replace(space, scales=False) for name, space in table.spaces.items() if name in used}
    kept = {name: space for name, space in spaces.items() if all(parent in spaces for parent in space.within)}
    if len(kept) < len(spaces) or not kept:
        return ""
    try:
        verify_together(Axes.of(kept, here), plain, example[0], example[1], outputs)
    except BadParameter as error:
        chosen = ", ".join(f"{name} = {value}" for name, value in values.items())
        return f"the subnet {{{chosen}}} runs, but its units are mixed up ({error})"
    return ""


def _fitted(table: Axes, layout: Layout, shape: tuple[int, ...]) -> Layout:
    """Axes without units, those of a kernel, as long as they are here."""
    axes = tuple(axis if table.length(axis) == n else ((n,),) for axis, n in zip(layout.axes, shape, strict=True))
    return replace(layout, axes=axes)
