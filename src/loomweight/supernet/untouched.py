"""A model that cannot be made elastic is left as it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from .guard import unguard

_OWN = ("_parameters", "_buffers", "_modules", "_forward_pre_hooks")


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Whatever goes wrong inside, afterwards the modules have the classes and the entries that they had."""
    before = [(module, type(module), dict(vars(module)), {key: dict(vars(module)[key]) for key in _OWN}) for module in model.modules()]
    try:
        yield
    except BaseException:
        for module, kind, entries, own in before:
            module.__class__ = kind
            _refill(vars(module), entries)
            for key, inner in own.items():
                _refill(vars(module)[key], inner)
        unguard(model.parameters())
        raise


def _refill(target: dict[str, Any], entries: dict[str, Any]) -> None:
    target.clear()
    target.update(entries)
