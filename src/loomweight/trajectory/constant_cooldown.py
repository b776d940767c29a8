"""A learning rate that rises, stays, and falls at the end: runs of any length share all but their last part.

Paper: Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations (2024, https://arxiv.org/abs/2405.18392), equations 1 and 2.
Original code: epfml/schedules-and-scaling at commit 17e78d6, src/optim/utils.py, wsd_schedule.
"""

from collections.abc import Callable
from math import inf, isfinite, sqrt
from typing import Literal, get_args

from ..errors import BadParameter

Form = Literal["sqrt", "linear"]
_FALLS: dict[str, Callable[[float], float]] = {"sqrt": lambda share: 1 - sqrt(share), "linear": lambda share: 1 - share}


def constant_cooldown(
    warm_up: float = 0.0,
    cooldown: float = 0.2,
    *,
    length: float | None = None,
    at: float | None = None,
    form: Form = "sqrt",
    first: float = 0.01,
    last: float = 0.0,
) -> Callable[[float], float]:
    """Factor of the learning rate after so many samples: from `first` to 1 in the warm-up, then 1, then down to `last` in the cooldown.

    In the cooldown it is last + (1 - last) (1 - sqrt(u)), with u the share of it that has passed ("linear": 1 - u), and stays there after it. Take a checkpoint
    of the constant phase, give its number of samples as `at`, and the run branches there; whatever `at` is, the factor before it is the same.

    Args:
        warm_up, cooldown: shares of `length`, if that is given, or samples. The paper finds 0.2 to match a cosine schedule; on a noisy
            quadratic it gains nearly all that cosine does, not quite all.
        length: samples of the whole run; the cooldown ends there.
        at: without a length: samples at which the cooldown begins; None is a run that stays constant.
        form: "sqrt" (the paper's best) or "linear".
        first, last: factors at the run's first step and at its end.

    Raises:
        BadParameter: a length or a share out of range, or both length and at.

    >>> factor = constant_cooldown(length=1000, warm_up=0.1, cooldown=0.2, form="linear", first=0.0)
    >>> [round(factor(samples), 6) for samples in (0, 50, 100, 800, 900, 1000)]
    [0.0, 0.5, 1.0, 1.0, 0.5, 0.0]
    >>> branch = constant_cooldown(warm_up=100, at=400, cooldown=100)
    >>> branch(400), branch(425), branch(500)
    (1.0, 0.5, 0.0)
    >>> optimizer = torch.optim.AdamW([torch.zeros(1)], lr=1e-3)
    >>> schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(step * 128))  # steps of 128 samples
    """
    if length is not None and at is not None:
        raise BadParameter("length says where the cooldown ends, at where it begins; give one of them.")
    if form not in get_args(Form) or not (0 <= first <= 1 and 0 <= last <= 1):
        raise BadParameter(f"form is one of {', '.join(get_args(Form))}, first and last lie in [0, 1]; found {form!r}, first={first}, last={last}.")
    rising, falling, begin = _in_samples(warm_up, cooldown, length, at)
    fall = _FALLS[form]

    def factor(samples: float) -> float:
        if samples < rising:
            return first + (1 - first) * samples / rising
        if samples <= begin:
            return 1.0
        return last + (1 - last) * fall(min((samples - begin) / falling, 1.0)) if falling else last

    return factor


def _in_samples(warm_up: float, cooldown: float, length: float | None, at: float | None) -> tuple[float, float, float]:
    """Length of the warm-up, length of the cooldown, and where that begins."""
    if not (isfinite(warm_up) and warm_up >= 0 and isfinite(cooldown) and cooldown >= 0):
        raise BadParameter(f"warm_up and cooldown are at least 0, found {warm_up} and {cooldown}.")
    if length is None:
        if at is not None and not warm_up <= at:
            raise BadParameter(f"the cooldown begins at {at} samples, before the warm-up of {warm_up} ends; without a length, both are in samples.")
        return warm_up, cooldown, inf if at is None else at
    if not (isfinite(length) and length > 0 and warm_up + cooldown <= 1):
        raise BadParameter(f"with the run's length given, warm_up and cooldown are shares of it, at most 1 in all; found {warm_up}, {cooldown} of {length}.")
    return warm_up * length, cooldown * length, length - cooldown * length
