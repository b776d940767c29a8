"""SWAG: a Gaussian around the mean of a run, wide where the run moved.

Paper: A Simple Baseline for Bayesian Uncertainty in Deep Learning (2019, https://arxiv.org/abs/1902.02476), algorithm 1 and equation 1.
Original code: wjmaddox/swa_gaussian at commit 61a918f, swag/posteriors/swag.py, where `scale` is twice ours in `sample_fullrank`.
We differ: the second moment is kept around the mean (Welford's update), where E[w^2] - E[w]^2 in float32 loses a variance below some 1e-7 of
the square of the mean, and has to be clamped. K is the number of columns held; the code divides by the most there may be, even before they are there.
"""

from collections.abc import Iterable, Mapping
from math import isfinite, sqrt
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BadParameter, TooFewSets
from ..evidence.grams import Forward, run_model
from ..evidence.keyed import generator
from ..rules import RunningMean
from ..weights import Weights
from .average import Average
from .clock import Clock
from .model import followed, local


class SWAG(Average):
    """Mean m, variance s^2 and the last K deviations d_i = w_i - m_i of a run's points, m_i the mean so far; D has the columns d_i.

    The value is m (that of `SWA`). A sample is m + sqrt(scale) (s z / sqrt(2) + D y / sqrt(2 (K - 1))), z and y standard normal: its
    covariance is scale * (diag(s^2) + D D^T / (K - 1)) / 2. Memory: two models in working precision, and K more.

    Args:
        model, device: see `Track`.
        k: K, the number of deviations; 0 is SWAG-Diagonal, whose samples are m + sqrt(scale / 2) s z.
        start, every, length: as in `SWA`; the paper takes a point at every epoch's end, at a constant learning rate.

    Raises:
        BadParameter: k is negative or 1, for which D has no factor.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> swag = SWAG(model, k=2)
    >>> for w in (1.0, 3.0):
    ...     _ = model.weight.data.fill_(w), swag.update()
    >>> swag.value()["weight"], swag.variances["weight"], [column["weight"].item() for column in swag.columns]
    (tensor([[2.]]), tensor([[1.]]), [0.0, 1.0])
    >>> torch.equal(swag.sample(seed=0)["weight"], swag.sample(seed=0)["weight"])
    True
    """

    def __init__(
        self,
        model: nn.Module,
        k: int = 20,
        start: float = 0.0,
        every: float = 0.0,
        length: float | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        if k < 0 or k == 1:
            raise BadParameter(f"k, the number of deviations, is 0 or at least 2 (the factor is 1 / sqrt(2 (k - 1))), found {k}.")
        super().__init__(model, RunningMean(), Clock.of(start, every, length), device)
        self.k = k
        self.variances: dict[str, Tensor] = {}
        self.columns: list[dict[str, Tensor]] = []
        self._drawn: Mapping[str, Tensor] | None = None

    def sample(self, seed: int, scale: float = 1.0, block: bool = False, data: Iterable[Any] | None = None, forward: Forward = run_model) -> Weights:
        """The whole model with parameters drawn from the Gaussian, keyed by (seed, tensor's name); buffers are those of the mean.

        Args:
            seed: the same seed gives the same sample.
            scale: of the covariance; 1 is the paper's, 0 the mean.
            block: draw y for each tensor apart, so that tensors do not vary together.
            data, forward: as in `applied`; batch normalizations need their statistics anew for each sample.

        Raises:
            TooFewSets: fewer than two points were taken.
            BadParameter: scale is negative.
        """
        if not (isfinite(scale) and scale >= 0):
            raise BadParameter(f"scale, the factor of the covariance, is at least 0, found {scale}.")
        if self.count < 2:
            raise TooFewSets(f"a Gaussian needs at least two points of the run, SWAG has taken {self.count}.")
        self._drawn = {name: self._draw(name, seed, scale, block) for name in self.totals}
        try:
            return self.value(data, forward)
        finally:
            self._drawn = None

    @torch.no_grad()
    def _draw(self, name: str, seed: int, scale: float, block: bool) -> Tensor:
        mean = local(self.totals[name])
        if name not in self.variances:
            return mean
        z = torch.randn(mean.shape, generator=generator("swag", seed, name), dtype=mean.dtype).to(mean.device)
        drawn = mean + sqrt(scale / 2) * self.variances[name].sqrt() * z
        columns = [(i, column[name]) for i, column in enumerate(self.columns) if name in column]
        if len(columns) < 2:
            return drawn
        y = torch.randn(len(self.columns), generator=generator("swag columns", seed, name if block else ""), dtype=torch.float64).tolist()
        for i, column in columns:
            drawn.add_(column, alpha=sqrt(scale / (2 * (len(columns) - 1))) * y[i])
        return drawn

    @torch.no_grad()
    def _take(self, samples: float) -> None:
        before = dict(self.totals)
        super()._take(samples)
        live = followed(self.model, self.totals)
        names = [name for name in self.totals if isinstance(live[name], nn.Parameter)]
        column = {name: local(live[name]).to(local(self.totals[name])) - local(self.totals[name]) for name in names}
        for name, deviation in column.items():
            rate = samples / (self.seen - self.since[name])
            if name not in before or name not in self.variances:
                self.variances[name] = torch.zeros_like(deviation)
            if rate < 1:
                self.variances[name].mul_(1 - rate).addcmul_(deviation, deviation, value=rate / (1 - rate))
        self.variances = {name: self.variances[name] for name in names}
        self.columns = [*self.columns, column][-self.k :] if self.k else []

    def _drop(self, names: Iterable[str]) -> None:
        gone = set(names)
        super()._drop(gone)
        variances, *columns = ({name: tensor for name, tensor in held.items() if name not in gone} for held in (self.variances, *self.columns))
        self.variances, self.columns = variances, columns

    def _read(self) -> Mapping[str, Tensor]:
        return super()._read() if self._drawn is None else self._drawn

    def _what(self) -> str:
        return f"SWAG(k={self.k})"

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "variances": dict(self.variances), "columns": [dict(column) for column in self.columns]}

    def _load(self, state: Mapping[str, Any]) -> None:
        super()._load(state)
        variances, *columns = (
            {name: tensor.to(local(self.totals[name]).device, copy=True) for name, tensor in held.items()} for held in (state["variances"], *state["columns"])
        )
        self.variances, self.columns = variances, columns
