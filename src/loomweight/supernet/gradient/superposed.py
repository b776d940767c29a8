"""A stored tensor of an elastic model as it is used while its sizes are relaxed: one weight, whatever is mixed."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..parts import Cut, Part, Region
from ..stored import Stored

#: (field, spans of each option along each axis) -> the factor of each entry
Factors = dict[Any, Tensor]


class Superposed:
    """used = sum over options of the product of their coefficients x the stored tensor, zero outside the options' part.

    The options of a field are nested, so that this sum is one factor for each entry of the axes that the field cuts. Where a field cuts
    several axes of a tensor (both sides of a square kernel) the factor is that of the smallest option that holds the entry on all of them.

    Args:
        one: the stored tensor.
        base: the configuration in which the model runs; it says what of the tensor is used at all.
        options: relaxed field -> its options.
    """

    def __init__(self, one: Stored, base: Mapping[str, Any], options: Mapping[str, Sequence[Any]]) -> None:
        assert one.layout is not None
        self.layout = one.layout
        self.parts = [_Factored(part, part.region(base), base, options) for part in one.layout.parts]

    def __call__(self, whole: Tensor, coefficients: Mapping[str, Tensor], known: Factors) -> Tensor:
        """The tensor in use.

        Args:
            whole: the stored tensor, or another of its shape.
            coefficients: of each relaxed field.
            known: factors that other tensors have computed in this forward pass.
        """
        pieces = [part(whole, coefficients, known) for part in self.parts]
        return pieces[0] if self.layout.plain else self.layout.assembled(pieces)


class _Factored:
    """One part of a tensor, and the entries that each option of its fields holds."""

    def __init__(self, part: Part, region: Region, base: Mapping[str, Any], options: Mapping[str, Sequence[Any]]) -> None:
        self.part, self.region = part, region
        self.fields: list[tuple[str, Any, list[int], Tensor]] = []
        for field in dict.fromkeys(cut.field for cut in part.flat if cut.field in options):
            assert field is not None
            axes = [axis for axis, cut in enumerate(part.flat) if cut.field == field]
            spans = tuple(_spans([part.flat[axis] for axis in axes], [region[axis][0] for axis in axes], {**base, field: option}) for option in options[field])
            lengths = [region[axis][1] - region[axis][0] for axis in axes]
            shape = [lengths[axes.index(axis)] if axis in axes else 1 for axis in range(len(part.flat))]
            self.fields.append((field, (field, spans, tuple(lengths)), shape, _held(spans, lengths)))

    def __call__(self, whole: Tensor, coefficients: Mapping[str, Tensor], known: Factors) -> Tensor:
        used = self.part.view(whole, self.region)
        for field, key, shape, held in self.fields:
            if key not in known:
                known[key] = held.to(coefficients[field]) @ coefficients[field]
            used = used * known[key].to(used.dtype).view(shape)
        return used


def _spans(cuts: Sequence[Cut], begins: Sequence[int], values: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
    """What a configuration uses of each axis, counted from where the part begins."""
    ends = [cut.span(values) for cut in cuts]
    return tuple((low - begin, high - begin) for (low, high), begin in zip(ends, begins, strict=True))


def _held(spans: Sequence[Sequence[tuple[int, int]]], lengths: Sequence[int]) -> Tensor:
    """(entries of all axes together, options): 1 where the option holds the entry.

    >>> _held([((0, 1),), ((0, 3),)], [3]).tolist()
    [[1.0, 1.0], [0.0, 1.0], [0.0, 1.0]]
    """
    held = torch.zeros(*lengths, len(spans))
    for number, span in enumerate(spans):
        held[(*(slice(*ends) for ends in span), number)] = 1.0
    return held.flatten(0, -2)
