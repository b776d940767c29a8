"""An average that a training loop puts into its model and takes out at different events, where no `with` can stand."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ..errors import BadParameter
from .track import Track

Build = Callable[[nn.Module], Track]
Count = Callable[[Any], float]


class InUse:
    """Enter and leave `track.applied()`, each as often as events ask for it.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> ema = lw.trajectory.EMA(model, half_life=1)
    >>> use = InUse(ema)
    >>> use.enter()  # nothing was averaged yet: the model stays
    >>> _ = model.weight.data.fill_(3.0), ema.update(), model.weight.data.fill_(5.0)
    >>> use.enter()
    >>> use.enter()
    >>> model.weight.item(), use.leave(), model.weight.item()
    (3.0, None, 5.0)
    """

    def __init__(self, track: Track, data: Iterable[Any] | None = None) -> None:
        self.track = track
        self.data = data
        self._stack = ExitStack()
        self._moved = False

    def update(self, samples: float) -> None:
        """As of the average."""
        self.track.update(samples)
        self._moved = True

    def check(self, evaluate: bool) -> None:
        """Whether the average may be evaluated.

        Raises:
            BadParameter: it asks for the validation loss of the model itself, as SWAD does.
        """
        if evaluate and hasattr(self.track, "validated"):
            raise BadParameter(f"{type(self.track).__name__} asks for the validation loss of the model itself: give the callback evaluate=False.")

    def validated(self, losses: Mapping[str, Any], name: str) -> bool:
        """Tell the loss of that name to an average that asks for it, once after each validation; whether training may stop.

        Raises:
            BadParameter: there is no such loss.
        """
        ask = getattr(self.track, "validated", None)
        if ask is None or not self._moved:
            return False
        if name not in losses:
            raise BadParameter(f"{type(self.track).__name__} asks for the validation loss {name!r}, but these were measured: {', '.join(losses) or 'none'}.")
        self._moved = False
        return ask(float(losses[name]))

    def enter(self) -> None:
        """Put the average into the model, if there is one and it is not there already."""
        if self.track.ready and not self.track.in_model:
            self._stack.enter_context(self.track.applied(self.data))

    def leave(self) -> None:
        """Let the model be as it was."""
        self._stack.close()

    def stay(self) -> None:
        """Set the model to the average for good, if there is one."""
        self.leave()
        if self.track.ready and self.data is None:
            self.track.copy_to_model()
        elif self.track.ready:
            self.track.model.load_state_dict(dict(self.track.value(self.data)))


def length(batch: Any) -> int:
    """How many samples a batch holds: the length of the first tensor in it, whatever it is nested in.

    Raises:
        BadParameter: it holds no tensor with an axis.

    >>> length({"input_ids": torch.zeros(8, 16), "labels": torch.zeros(8)})
    8
    """
    for leaf in tree_leaves(batch):
        if isinstance(leaf, Tensor) and leaf.ndim:
            return len(leaf)
    raise BadParameter(f"cannot count the samples of a batch without tensors ({type(batch).__name__}); say how with samples=lambda batch: ...")


def over_processes(samples: float, device: torch.device) -> float:
    """The sum over all processes of a run, in which each has its own batch."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1):
        return samples
    total = torch.tensor(samples, dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
    torch.distributed.all_reduce(total)
    return total.item()
