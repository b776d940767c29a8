"""A report on a ranking that says what it is worth beside the count of operations, and what noise allows.

Papers: NAS evaluation is frustratingly hard (2019, https://arxiv.org/abs/1912.12522), on baselines and seeds; Evaluating the Search Phase of
Neural Architecture Search (2019, https://arxiv.org/abs/1902.08142), on rank correlation with stand-alone training. The comparison with counts
of parameters and operations on the same architectures is ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...errors import BadParameter
from .correlation import Interval, Numbers, kendall, paired, resampled, rhos, spearman
from .sparse import sparse_kendall


@dataclass(frozen=True)
class RankedScore:
    """Rank correlations of one score with the truth: Kendall's tau, Spearman's rho, and tau beyond the noise where a noise was given."""

    name: str
    tau: Interval
    rho: Interval
    sparse: Interval | None


@dataclass(frozen=True)
class Ranking:
    """A score beside baselines, on the same architectures. Printed, it is a table and a verdict.

    Args:
        score: the score in question.
        baselines: by falling rho.
        gain: rho of the score minus that of the best baseline, with an interval from the same resamples.
        architectures: compared.
        undefined: architectures without a score.
        treated: what was done with those: dropped or last.
        ceiling: tau between two seeds of the truth, where known.
    """

    score: RankedScore
    baselines: tuple[RankedScore, ...]
    gain: Interval
    architectures: int
    undefined: int
    treated: str
    ceiling: float | None

    @property
    def good(self) -> bool:
        """True where the score beats the best baseline beyond resampling; never because of its correlation alone."""
        return self.gain.low > 0

    @property
    def verdict(self) -> str:
        """In words."""
        name, best = self.score.name, self.baselines[0].name
        if self.good:
            return f"{name} ranks better than {best}: rho higher by {self.gain}"
        how = "worse than" if self.gain.high < 0 else "no better than"
        return f"{name} ranks {how} {best}, a count: rho differs by {self.gain}; not a good score, whatever its correlation"

    def __str__(self) -> str:
        rows = [self.score, *self.baselines]
        width = max(len(row.name) for row in rows)
        noisy = self.score.sparse is not None
        lines = [f"{'':{width}}  {'Kendall tau':22}  {'Spearman rho':22}" + ("  tau beyond noise" if noisy else "")]
        lines += [f"{row.name:{width}}  {row.tau!s:22}  {row.rho!s:22}" + (f"  {row.sparse}" if noisy else "") for row in rows]
        left = f"; {self.undefined} without a score, {self.treated}" if self.undefined else ""
        ceiling = "noise ceiling not known" if self.ceiling is None else f"noise ceiling: tau {self.ceiling:.3f} between two seeds"
        return "\n".join([*(line.rstrip() for line in lines), f"{self.architectures} architectures{left}; {ceiling}", self.verdict])


def ranking(
    scores: Numbers,
    truth: Numbers,
    baselines: Mapping[str, Numbers],
    *,
    name: str = "score",
    undefined: Literal["raise", "drop", "last"] = "raise",
    noise: float | None = None,
    ceiling: float | None = None,
) -> Ranking:
    """Compare a score with counts of parameters or operations as predictors of the truth, on the same architectures.

    Args:
        scores: of a proxy, predictor or supernet; larger is better.
        truth: accuracy of stand-alone training.
        baselines: such as {"params": ..., "MACs": ...}: what anyone can count.
        name: of the score, for the table.
        undefined: what to do with NaN and infinite scores. "drop": compare all on the others; "last": rank them below all.
        noise: spread of the truth between seeds, for the tau that ignores smaller differences (`seed_noise`).
        ceiling: tau between seeds, for the report.

    Raises:
        BadParameter: there is no baseline, or as for `kendall`.
        NonFinite: a score is undefined and `undefined` is "raise"; a truth or a baseline is not finite.
        TooFewSets: fewer than three architectures are left.

    >>> print(ranking([1, 2, 3, 4, 5, 6], [10, 11, 13, 12, 15, 14], {"params": [6, 5, 4, 3, 2, 1]}).verdict[:35])
    score ranks better than params: rho
    """
    if not baselines:
        raise BadParameter("a ranking is judged beside a baseline; give at least the parameters or operations of each architecture.")
    columns = {name: np.asarray(scores, dtype=np.float64), **{key: np.asarray(values, dtype=np.float64) for key, values in baselines.items()}}
    due, finite = np.asarray(truth, dtype=np.float64), np.isfinite(columns[name])
    if undefined == "drop" and finite.shape == due.shape:
        due, columns = due[finite], {key: values[finite] for key, values in columns.items()}
    elif undefined == "last" and finite.any():
        columns[name] = np.where(finite, columns[name], columns[name][finite].min() - 1)
    paired(due, *columns.values())
    rows = [_ranked(key, values, due, noise) for key, values in columns.items()]
    best = sorted(rows[1:], key=lambda row: -row.rho.value)
    gain = _gain(columns[name], columns[best[0].name], due)
    treated = {"drop": "left out here", "last": "ranked last"}.get(undefined, "")
    return Ranking(rows[0], tuple(best), gain, len(due), int((~finite).sum()), treated, ceiling)


def _ranked(name: str, values: np.ndarray, truth: np.ndarray, noise: float | None) -> RankedScore:
    return RankedScore(name, kendall(values, truth), spearman(values, truth), None if noise is None else sparse_kendall(values, truth, noise))


def _gain(scores: np.ndarray, baseline: np.ndarray, truth: np.ndarray) -> Interval:
    return resampled(_difference, np.stack([scores, baseline, truth]), resamples=1000, level=0.95, seed=0)


def _difference(rows: np.ndarray, draws: np.ndarray) -> np.ndarray:
    return rhos(rows[[0, 2]], draws) - rhos(rows[[1, 2]], draws)
