"""SWAD: the dense mean of a run's flat valley, whose start and end the validation loss tells.

Paper: SWAD: Domain Generalization by Seeking Flat Minima (2021, https://arxiv.org/abs/2102.08604), algorithm 1.
Original code: khanrc/swad at commit 252190e, domainbed/swad.py and trainer.py.
We differ: all samples weigh the same, where the code takes the plain mean of the means between two validations (the same thing when they are
as many steps apart each time). For start and end see `valley`.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..errors import BadParameter, NamesDiffer, TooFewSets
from ..rules import RunningMean
from .average import Average
from .model import fitting, local
from .valley import Valley


class Stretch(NamedTuple):
    """The mean of the points between two validations, and the samples that each tensor's mean stands for."""

    totals: dict[str, Tensor]
    samples: dict[str, float]

    def joined(self, other: "Stretch") -> "Stretch":
        """Both as one; neither is changed.

        >>> both = Stretch({"w": torch.zeros(1)}, {"w": 1.0}).joined(Stretch({"w": torch.ones(1)}, {"w": 3.0}))
        >>> both.totals["w"], both.samples["w"]
        (tensor([0.7500]), 4.0)
        """
        samples = {name: self.samples.get(name, 0.0) + count for name, count in other.samples.items()}
        totals = {
            name: torch.lerp(local(self.totals[name]), local(new), other.samples[name] / samples[name]) if name in self.totals else new
            for name, new in other.totals.items()
        }
        return Stretch(totals, samples)

    def without(self, names: Collection[str]) -> "Stretch":
        """All but these tensors."""
        kept = [name for name in self.totals if name not in names]
        return Stretch({name: self.totals[name] for name in kept}, {name: self.samples[name] for name in kept})


class SWAD(Average):
    """Stochastic weight averaging densely: the mean over all steps of the valley that validation losses show.

    `update()` after every optimizer step; `validated(loss)` after every validation, until it says that the valley is over. The mean is that of the
    steps up to validation t_s and on to validation t_e, as the algorithm finds them; while the end is not found, on to the latest one. Until the end
    is known, the steps before each of the latest `patience` or `tolerance` validations are kept as one mean each: so many models of memory.

    Args:
        model, device: see `Track`.
        patience: N_s; averaging starts at a validation whose loss the next N_s - 1 do not go below.
        tolerance: N_e; it ends before N_e validations in a row with losses above the threshold.
        ratio: the threshold is so many times the mean loss of the first N_s; the paper takes 1.3, for one of its five data sets 1.2.

    Raises:
        BadParameter: one of them is out of range.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> swad = SWAD(model, patience=2, tolerance=1, ratio=1.0)
    >>> for w, loss in ((9.0, 5.0), (1.0, 2.0), (3.0, 2.0), (7.0, 4.0)):
    ...     _ = model.weight.data.fill_(w), swad.update()
    ...     over = swad.validated(loss)
    >>> over, swad.value()["weight"]
    (True, tensor([[2.]]))
    """

    def __init__(self, model: nn.Module, patience: int = 3, tolerance: int = 6, ratio: float = 1.3, device: str | torch.device | None = None) -> None:
        super().__init__(model, RunningMean(), device=device)
        self.valley = Valley(patience, tolerance, ratio)
        self.sure = Stretch({}, {})
        self.pending: list[Stretch] = []

    @torch.inference_mode(False)
    @torch.no_grad()
    def validated(self, loss: float) -> bool:
        """Tell the validation loss of the model as it is now; whether the valley is over, so that training may stop.

        Raises:
            BadParameter: the loss is negative or not finite; the valley is over already, or no step was taken since the last validation.
        """
        if not self.totals and self.valley.end is None:
            raise BadParameter("no step was taken since the last validation: call update() after every step, and validated(loss) after some of them.")
        over = self.valley.add(loss)
        self.pending.append(Stretch(self.totals, {name: self.seen - since for name, since in self.since.items()}))
        self.totals, self.since, self.seen = {}, {}, 0.0
        self._settle()
        return over

    @property
    def ready(self) -> bool:
        """Whether the start of the valley was found."""
        return super().ready and self.valley.start is not None

    def forget(self, *names: str) -> None:
        """Drop these tensors from the mean: they have left the model, or begin anew.

        Raises:
            NamesDiffer: the mean does not hold one of them.
        """
        if missing := [name for name in names if name not in self._held()]:
            raise NamesDiffer(f"the average does not hold {missing[0]!r}.")
        self._drop(name for name in names if name in self.totals)
        self.sure, *self.pending = (stretch.without(names) for stretch in (self.sure, *self.pending))

    def _settle(self) -> None:
        """Add what is surely in the valley to its mean, and drop what is surely out of it."""
        valley, latest = self.valley, len(self.valley.losses) - 1
        first = latest - len(self.pending) + 1
        if valley.start is None:
            self.pending = self.pending[-valley.patience :]
            return
        inside = {first + i: stretch for i, stretch in enumerate(self.pending) if first + i >= valley.start}
        for stretch in [stretch for i, stretch in inside.items() if i <= latest - valley.tolerance]:
            self.sure = self.sure.joined(stretch)
        self.pending = [stretch for i, stretch in inside.items() if i > latest - valley.tolerance] if valley.end is None else []

    def _take(self, samples: float) -> None:
        if self.valley.end is None:
            super()._take(samples)

    def _ready(self) -> Mapping[str, Tensor]:
        if self.valley.start is None:
            raise TooFewSets(
                f"SWAD has found no start after {len(self.valley.losses)} validations: of no {self.valley.patience} losses in a row is the first the least;"
                " train on, or lower patience."
            )
        return super()._ready()

    def _read(self) -> Mapping[str, Tensor]:
        mean = self.sure
        for stretch in self.pending:
            mean = mean.joined(stretch)
        return {name: local(total) for name, total in mean.totals.items()}

    def _held(self) -> Mapping[str, Tensor]:
        return {name: total for stretch in (self.sure, *self.pending) for name, total in stretch.totals.items()} | self.totals

    def _what(self) -> str:
        return f"SWAD({self.valley.words})"

    def _state(self) -> dict[str, Any]:
        stretches = [stretch._asdict() for stretch in (self.sure, *self.pending)]
        return {**super()._state(), "valley": {**asdict(self.valley), "losses": list(self.valley.losses)}, "stretches": stretches}

    def _load(self, state: Mapping[str, Any]) -> None:
        first, *others = (self._placed(stretch["totals"], stretch["samples"]) for stretch in state["stretches"])
        super()._load(state)
        self.valley = Valley(**{**state["valley"], "losses": tuple(state["valley"]["losses"])})
        self.sure, self.pending = first, others

    def _placed(self, totals: Mapping[str, Tensor], samples: Mapping[str, float]) -> Stretch:
        live = fitting(self.model, totals) if totals else {}
        return Stretch({name: total.to(self.device or local(live[name]).device, copy=True) for name, total in totals.items()}, dict(samples))
