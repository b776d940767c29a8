"""Batches as they come: a tensor, a tuple (inputs ..., targets), a dict as tokenizers make it, and nestings of these."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BadParameter

#: words for the targets in a dict
LABELS = ("labels", "label")


@singledispatch
def each(batch: Any, function: Callable[[Tensor], Any]) -> Any:
    """The same batch with `function` of every tensor in it; dict-likes become dicts.

    >>> each({"x": torch.ones(2), "how": "fast"}, lambda tensor: 2 * tensor)
    {'x': tensor([2., 2.]), 'how': 'fast'}
    """
    return batch


@each.register(Tensor)
def _(batch: Tensor, function: Callable[[Tensor], Any]) -> Any:
    return function(batch)


@each.register(Mapping)
def _(batch: Mapping[str, Any], function: Callable[[Tensor], Any]) -> Any:
    return {key: each(part, function) for key, part in batch.items()}


@each.register(list)
@each.register(tuple)
def _(batch: Sequence[Any], function: Callable[[Tensor], Any]) -> Any:
    parts = [each(part, function) for part in batch]
    return type(batch)(*parts) if hasattr(batch, "_fields") else tuple(parts)


def tensors(batch: Any) -> list[Tensor]:
    """All tensors of a batch, always in the same order."""
    found: list[Tensor] = []
    each(batch, found.append)
    return found


def refilled(batch: Any, new: Sequence[Tensor]) -> Any:
    """The batch with other tensors in the places of its own."""
    rest = iter(new)
    return each(batch, lambda _: next(rest))


def size(batch: Any) -> int:
    """Number of examples: the length of the first axis, on which all tensors must agree.

    Raises:
        BadParameter: there is no tensor, or their first axes differ.

    >>> size((torch.zeros(4, 3), torch.zeros(4)))
    4
    """
    sizes = {len(tensor) if tensor.ndim else 0 for tensor in tensors(batch)}
    if len(sizes) != 1 or 0 in sizes:
        shapes = [tuple(tensor.shape) for tensor in tensors(batch)]
        raise BadParameter(f"the tensors of a batch need one first axis, the examples; found shapes {shapes} in a {type(batch).__name__}.")
    return sizes.pop()


def part(batch: Any, lo: int, hi: int) -> Any:
    """Examples [lo, hi) of a batch."""
    return each(batch, lambda tensor: tensor[lo:hi])


def to_device(batch: Any, device: torch.device) -> Any:
    """The batch where the model is."""
    return each(batch, lambda tensor: tensor.to(device))


def digest(batch: Any, before: str) -> str:
    """Digest of a batch's content and of what came before it."""
    words = hashlib.sha256(before.encode())
    for tensor in tensors(batch):
        words.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        words.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return words.hexdigest()


@singledispatch
def forward(inputs: Any, model: nn.Module) -> Any:
    """Call the model on a batch: a dict by keyword without its labels, a tuple without its last part, anything else as it is."""
    return model(inputs)


@forward.register(Mapping)
def _(inputs: Mapping[str, Any], model: nn.Module) -> Any:
    return model(**{key: value for key, value in inputs.items() if key not in LABELS})


@forward.register(list)
@forward.register(tuple)
def _(inputs: Sequence[Any], model: nn.Module) -> Any:
    return forward(inputs[0], model) if len(inputs) <= 2 else model(*inputs[:-1])


@singledispatch
def targets(batch: Any) -> Tensor:
    """The labels of a batch: a dict's `labels`, a tuple's last part.

    Raises:
        BadParameter: the batch has none.
    """
    raise BadParameter(f"a batch of type {type(batch).__name__} has no labels; give (inputs, labels) or a dict with labels, or a task of your own.")


@targets.register(Mapping)
def _(batch: Mapping[str, Any]) -> Tensor:
    found = [batch[key] for key in LABELS if key in batch]
    if not found:
        raise BadParameter(f"the batch has no labels, only {', '.join(batch)}; add labels, or give a task of your own.")
    return found[0]


@targets.register(list)
@targets.register(tuple)
def _(batch: Sequence[Any]) -> Tensor:
    if len(batch) < 2:
        raise BadParameter("the batch is a tuple of one part, so it has no labels; give (inputs, labels), or a task of your own.")
    return batch[-1]
