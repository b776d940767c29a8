"""A place in a network with several modules to choose from."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn

from ..errors import BadParameter


class Choice(nn.Module):
    """One of several modules, by name: the cells of a search space.

    It is written into the model; a line `operator cells.* : skip conv3 conv5` then says what it may be. Alone, and before anything is
    chosen, it is its last candidate. All candidates take and make the same units. An exported subnet has the candidate in its place.

    Args:
        candidates: by name.

    Raises:
        BadParameter: there is no candidate, or a name is one that modules use themselves.

    >>> place = Choice({"skip": nn.Identity(), "times": nn.Linear(1, 1, bias=False)})
    >>> place.chosen, sorted(place.state_dict())
    ('times', ['times.weight'])
    """

    def __init__(self, candidates: Mapping[str, nn.Module]) -> None:
        super().__init__()
        if not candidates:
            raise BadParameter("a choice needs at least one candidate, found none.")
        for name, module in candidates.items():
            if not name or "." in name or hasattr(self, name):
                raise BadParameter(f"a candidate cannot be called {name!r}: modules have something of this name, or it has a dot; give it another name.")
            self.add_module(name, module)
        self.names = tuple(candidates)
        self.chosen = self.names[-1]
        self.coefficients: Callable[[], Any] | None = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The chosen candidate's output; where `coefficients` is set, the sum of all outputs times these, for searches by gradient.

        A candidate whose coefficient is None does not run.
        """
        if self.coefficients is None:
            return self._modules[self.chosen](*args, **kwargs)  # type: ignore[misc]
        named = zip(self.names, self.coefficients(), strict=True)
        parts = [factor * self._modules[name](*args, **kwargs) for name, factor in named if factor is not None]  # type: ignore[misc]
        return sum(parts[1:], parts[0])


@contextmanager
def summed(model: nn.Module) -> Iterator[None]:
    """While a model is traced, every choice is the sum of its candidates: what they make must fit the same places."""
    choices = [(module, module.coefficients) for module in model.modules() if isinstance(module, Choice)]
    for choice, _ in choices:
        choice.coefficients = partial(_ones, choice)
    try:
        yield
    finally:
        for choice, before in choices:
            choice.coefficients = before


def _ones(choice: Choice) -> list[float]:
    return [1.0] * len(choice.names)


def replaced(model: nn.Module) -> nn.Module:
    """The chosen candidates in the place of the choices."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            setattr(module, name, _bare(child))
    return _bare(model)


def _bare(module: nn.Module) -> nn.Module:
    while isinstance(module, Choice):
        module = module._modules[module.chosen]  # type: ignore[assignment]
    return module
