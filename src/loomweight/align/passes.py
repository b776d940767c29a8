"""Runs of a model over data during which some of its modules are watched, or have their output replaced."""

import copy
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..engines.progress import track
from ..errors import BadParameter
from ..evidence import batches
from ..evidence.grams import Forward, run_model
from ..weights import Weights
from ..weights.algebra import agree
from ..weights.memory import from_module
from .moments import Moments

#: (module's name, its input, its output) -> what it puts out instead, or None
See = Callable[[str, Tensor, Tensor], Tensor | None]


class _Reached(Exception):
    """The module that was asked for has run; what comes behind it is not needed."""


@dataclass
class Data:
    """What models are run on, and how.

    Args:
        loader: gives batches, the same ones every time it is gone through.
        forward: (model, batch) -> anything.
        progress: show a bar on stderr, if that is a terminal.
    """

    loader: Iterable[Any]
    forward: Forward = run_model
    progress: bool = True
    #: module -> how often it ran in the batch looked at last, in order of the first run
    ran: dict[str, int] = field(default_factory=dict, init=False)
    #: how many batches there were
    count: int = field(default=0, init=False)

    def through(self, model: nn.Module, modules: Mapping[str, nn.Module], see: See, *, words: str, only: str = "") -> None:
        """Run the model on all batches. With `only`, no further than what this module does in every batch.

        Raises:
            BadParameter: the loader gave no batch.
        """
        device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        last = self.ran.get(only, 0)
        self.count = 0
        with torch.no_grad(), ExitStack() as stack:
            seen: dict[str, int] = {}
            for name, module in modules.items():
                if not only or name == only:
                    stack.callback(module.register_forward_hook(_hook(name, see, seen, last), with_kwargs=True).remove)
            for batch in track(self.loader, words, show=self.progress):
                seen.clear()
                with suppress(_Reached):
                    self.forward(model, batches.to_device(batch, device))
                self.count += 1
            if not only:
                self.ran = dict(seen)
        if not self.count:
            raise BadParameter("the loader gave no batch; one that can be gone through several times is needed (a list, a DataLoader).")

    def moments(self, model: nn.Module, modules: Mapping[str, nn.Module], of: Callable[[str, Tensor, Tensor], Moments], only: str = "") -> dict[str, Moments]:
        """Moments over all batches of what `of` says of each module's input and output."""
        found: dict[str, Moments] = {}

        def see(name: str, given: Tensor, output: Tensor) -> None:
            now = of(name, given, output)
            found[name] = found[name].plus(now) if name in found else now

        self.through(model, modules, see, words=f"statistics of {only or type(model).__name__}", only=only)
        return {name: seen.checked(name) for name, seen in found.items()}


def _hook(name: str, see: See, seen: dict[str, int], last: int) -> Callable[..., Any]:
    def run(module: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any], output: Any) -> Any:
        seen[name] = seen.get(name, 0) + 1
        instead = see(name, inputs[0] if inputs else next(iter(named.values())), output)
        if seen[name] == last:
            raise _Reached
        return instead

    return run


def loaded(model: nn.Module, weights: Weights) -> nn.Module:
    """A copy of a model, in evaluation mode, that holds a weight set; the model is left as it was.

    Raises:
        NamesDiffer, ShapesDiffer, TiesDiffer: the set is none of this model.

    >>> model = nn.Linear(1, 1)
    >>> twin = loaded(model, Weights.of({"weight": torch.ones(1, 1), "bias": torch.zeros(1)}))
    >>> twin(torch.tensor([[3.0]])).item()
    3.0
    """
    agree(from_module(model), weights)
    twin = copy.deepcopy(model).eval()
    twin.load_state_dict({name: weights[name] for name in weights.names})
    return twin
