"""Switch EMA: now and then the average becomes the model, and training goes on from it.

Paper: Switch EMA: A Free Lunch for Better Flatness and Sharpness (2024, https://arxiv.org/abs/2402.09240), algorithm 1.
Original code: Westlake-AI/SEMA at commit 4581126, detection/mmdet_custom/core/hook/switch_ema.py, which switches all that `state_dict()` names.
We differ: floating buffers are averaged and switched, as there; integer buffers stay the model's, where the code puts back what they were
when training began. The average is bias-corrected unless `from_start` is set; there it always begins at the model.
"""

from collections.abc import Mapping
from typing import Any, SupportsFloat

import torch
from torch import nn

from ..errors import BadParameter
from .clock import Clock
from .ema import EMA


class SwitchEMA(EMA):
    """An EMA m of the weights w, and w <- m every `switch_every` samples, or whenever `switch()` is called.

    The optimizer's state is left as it is, and so is the average. The paper switches at the end of every epoch, after the average was
    evaluated.

    Args:
        model, half_life, decay, warm_up, from_start, device: see `EMA`.
        switch_every: samples between two switches; without it, only `switch()` does.

    Raises:
        BadParameter: switch_every is not a positive number.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> ema = SwitchEMA(model, half_life=1, switch_every=2)
    >>> for w in (4.0, 1.0):
    ...     _ = model.weight.data.fill_(w), ema.update()
    >>> model.weight.item()  # (4 / 2 + 1) / (1 / 2 + 1)
    2.0
    """

    def __init__(
        self,
        model: nn.Module,
        half_life: float | None = None,
        switch_every: float | None = None,
        *,
        decay: float | None = None,
        warm_up: float | None = None,
        from_start: bool = False,
        device: str | torch.device | None = None,
    ) -> None:
        if switch_every is not None and not switch_every > 0:
            raise BadParameter(f"switch_every must be a positive number of samples, or None, found {switch_every}.")
        super().__init__(model, half_life, decay=decay, warm_up=warm_up, from_start=from_start, device=device)
        self.switches = Clock(every=switch_every or 0.0)
        self.by_itself = switch_every is not None

    def update(self, samples: SupportsFloat = 1.0) -> bool:
        """As of any average; then the model is set to the average, if that is due."""
        taken = super().update(samples)
        self.switches, due = self.switches.after(samples)
        if due and self.by_itself:
            self.switch()
        return taken

    def switch(self) -> None:
        """Set the model to the average now.

        Raises:
            TooFewSets: nothing was averaged yet.
            BadParameter: the average is applied right now.
        """
        self.copy_to_model()

    def _what(self) -> str:
        return f"{super()._what()} switched every {self.switches.every if self.by_itself else None}"

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "switches": self.switches.state()}

    def _load(self, state: Mapping[str, Any]) -> None:
        super()._load(state)
        self.switches = Clock(**state["switches"])
