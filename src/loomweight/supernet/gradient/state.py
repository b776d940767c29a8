"""All that a search by gradient has to remember, as named tensors."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...errors import NamesDiffer, ShapesDiffer
from ...weights.names import listed


def grouped(**groups: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One flat dict of copies, `group.name` -> tensor.

    >>> grouped(alphas={"width": torch.zeros(1)})
    {'alphas.width': tensor([0.])}
    """
    return {f"{group}.{name}": tensor.detach().clone() for group, several in groups.items() for name, tensor in several.items()}


def group(state: Mapping[str, Any], name: str) -> dict[str, Tensor]:
    """What of a flat dict is of one group, by the names in it."""
    return {key.removeprefix(f"{name}."): tensor for key, tensor in state.items() if key.startswith(f"{name}.")}


@torch.no_grad()
def copy_into(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], what: str) -> None:
    """Copy tensors by name into others.

    Raises:
        NamesDiffer, ShapesDiffer: they are not the same ones; nothing was copied.
    """
    if differ := [name for name in (*wanted, *given) if (name in wanted) != (name in given)]:
        raise NamesDiffer(f"the state does not fit the search: {what} {listed(differ)} in one of them only.")
    for name, tensor in wanted.items():
        if tensor.shape != given[name].shape:
            raise ShapesDiffer(f"{what} {name} has shape {tuple(given[name].shape)} in the state, {tuple(tensor.shape)} in the search.")
    for name, tensor in wanted.items():
        tensor.copy_(given[name])
