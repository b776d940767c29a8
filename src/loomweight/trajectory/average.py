"""A running average of a live model: a profile says how much of it each point is."""

from collections.abc import Iterable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..errors import BadParameter, NamesDiffer
from ..rules import RunningAverage
from ..weights.spec import Spec
from .clock import Clock
from .model import averaged, fitting, followed, local
from .step import Move, advance, refuse_nonfinite
from .track import Track


class Average(Track):
    """m <- m + rate (w - m), with the rate of any profile: `Exponential`, `Power`, `loomweight.rules.RunningMean`.

    The value is what the profile gives for the same sets pushed one at a time, and that is `Mean` of them with the profile's weights.
    A parameter that joins the model later is averaged from then on, as if the run had begun there.

    Every entry is looked at before it is used, which is about a quarter of an update. With `average.look = False` it is not: then NaN enters the
    average as it does in torch.optim.swa_utils.

    Args:
        model, clock, device: see `Track`.
        profile: how much of the average each point is.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> average = Average(model, lw.rules.RunningMean())
    >>> for w in (1.0, 2.0, 6.0):
    ...     _ = model.weight.data.fill_(w), average.update()
    >>> average.value()["weight"], model.weight.item()
    (tensor([[3.]]), 6.0)
    """

    def __init__(self, model: nn.Module, profile: RunningAverage, clock: Clock | None = None, device: str | torch.device | None = None) -> None:
        super().__init__(model, clock, device)
        self.profile = profile
        self.look = True
        self.seen = 0.0
        self.totals: dict[str, Tensor] = {}
        self.since: dict[str, float] = {}
        if getattr(profile, "from_start", False):
            start = averaged(self.model)
            refuse_nonfinite({name: local(tensor) for name, tensor in start.items()})
            self._join(start)

    def forget(self, *names: str) -> None:
        """Drop these tensors from the average: they have left the model, or begin anew.

        Raises:
            NamesDiffer: the average does not hold one of them.
        """
        if missing := [name for name in names if name not in self.totals]:
            raise NamesDiffer(f"the average does not hold {missing[0]!r}.")
        self._drop(names)

    def _drop(self, names: Iterable[str]) -> None:
        for name in names:
            del self.totals[name], self.since[name]

    def allocate(self) -> Self:
        """Hold memory for the average now, not at the first point: its `state_dict()` is then what `torch.distributed.checkpoint` can load into.

        >>> list(Average(nn.Linear(1, 1), lw.rules.RunningMean()).allocate().state_dict()["totals"])
        ['weight', 'bias']
        """
        self._join({name: tensor for name, tensor in followed(self.model, self.totals).items() if name not in self.totals})
        return self

    def _take(self, samples: float) -> None:
        live = followed(self.model, self.totals)
        new = {name: tensor for name, tensor in live.items() if name not in self.totals}
        self._join(new)
        rates = {since: self.profile.rate(self.seen - since, samples) for since in set(self.since.values())}
        try:
            moves = [Move(name, local(total), local(live[name]), rates[self.since[name]]) for name, total in self.totals.items() if name in live]
            advance(moves, self.look)
        except BaseException:
            self._drop(new)
            raise
        if len(live) < len(self.totals):
            self._drop(self.totals.keys() - live.keys())  # what is now a second name of another tensor goes
        self.seen += samples

    @torch.inference_mode(False)
    @torch.no_grad()
    def _join(self, new: Mapping[str, Tensor]) -> None:
        for name, tensor in new.items():
            total = torch.zeros_like(tensor.detach(), dtype=Spec(tuple(tensor.shape), tensor.dtype).work, device=self.device)
            local(total).copy_(local(tensor))
            self.totals[name], self.since[name] = total, self.seen

    def _read(self) -> Mapping[str, Tensor]:
        return {name: local(total) for name, total in self.totals.items()}

    def _held(self) -> Mapping[str, Tensor]:
        return self.totals

    def _what(self) -> str:
        return repr(self.profile)

    def _state(self) -> dict[str, Any]:
        return {"seen": self.seen, "totals": dict(self.totals), "since": dict(self.since)}

    @torch.no_grad()
    def _load(self, state: Mapping[str, Any]) -> None:
        if lacking := {"totals", "seen", "since"} - set(state):
            raise BadParameter(f"this is no state of such an average: it lacks {', '.join(sorted(lacking))}.")
        expected = fitting(self.model, state["totals"]) if state["totals"] else {}
        self.totals, self.since = {}, {}
        self._join(expected)
        for name, total in state["totals"].items():
            local(self.totals[name]).copy_(local(total))
        self.seen, self.since = float(state["seen"]), {name: float(t) for name, t in state["since"].items()}
