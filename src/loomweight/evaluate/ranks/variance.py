"""How much the ranking by shared weights changes between runs, and between epochs of one run.

Paper: Deeper Insights into Weight Sharing in Neural Architecture Search (2020, https://arxiv.org/abs/2001.01431), section 4.
Original code: https://github.com/ultmaster/deeper-insights-weight-sharing. We differ: Kendall's tau where the paper draws S-Tau, which
rounds accuracies first (`sparse_kendall`), and a share of common best architectures beside it.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from ...errors import BadParameter, NonFinite, TooFewSets
from .correlation import Numbers, tau


@dataclass(frozen=True)
class RunVariance:
    """Agreement of a supernet with itself, and with the truth.

    Args:
        between_runs: mean tau between the last epochs of two runs.
        between_epochs: mean tau between an epoch and the next one of the same run.
        spread: standard deviation of an architecture's score between runs, at the last epoch, mean over architectures.
        common: share of the best `top` that two runs have in common, mean over pairs of runs.
        winners: number of different architectures that were the best at the end of an epoch of a run.
        truth: tau of the last epoch with the truth, by run; empty without a truth.
        averaged: tau with the truth of scores averaged over all runs and epochs given; NaN without one. Above `truth`, the variance hides
            a ranking that is there.
    """

    between_runs: float
    between_epochs: float
    spread: float
    common: float
    winners: int
    truth: tuple[float, ...]
    averaged: float


def run_variance(scores: np.ndarray, truth: Numbers | None = None, *, top: int = 10) -> RunVariance:
    """Compare the scores that runs and epochs of a supernet give to the same architectures.

    Args:
        scores: array (runs, epochs, architectures): validation accuracy by shared weights.
        truth: accuracy of each architecture trained alone.
        top: how many count as the best, for `common`; at most the number of architectures.

    Raises:
        TooFewSets: fewer than 2 runs, 2 epochs or 3 architectures.
        BadParameter: the array has another form, or the truth another length.
        NonFinite: a score is NaN or infinite.

    >>> import numpy
    >>> one = numpy.array([[1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0]])
    >>> found = run_variance(numpy.stack([one, one]), truth=[1, 2, 3, 4], top=2)
    >>> round(found.between_runs, 3), round(found.between_epochs, 3), found.winners, [round(value, 3) for value in found.truth]
    (1.0, 0.667, 1, [0.667, 0.667])
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 3:
        raise BadParameter(f"scores are an array of runs, epochs and architectures, found shape {table.shape}.")
    runs, epochs, architectures = table.shape
    if runs < 2 or epochs < 2 or architectures < 3:
        raise TooFewSets(f"at least 2 runs, 2 epochs and 3 architectures are needed, found {runs}, {epochs} and {architectures}.")
    if not np.isfinite(table).all():
        raise NonFinite(f"the score of run, epoch, architecture {np.argwhere(~np.isfinite(table))[0].tolist()} is not finite.")
    if not 1 <= top <= architectures or (truth is not None and len(truth) != architectures):
        raise BadParameter(f"there are {architectures} architectures; found top = {top}" + (f" and {len(truth)} truths." if truth is not None else "."))
    last, pairs = table[:, -1], list(combinations(range(runs), 2))
    best = [set(np.argsort(-row, kind="stable")[:top].tolist()) for row in last]
    known = None if truth is None else np.asarray(truth, dtype=np.float64)
    return RunVariance(
        between_runs=_mean([tau(last[[a, b]]) for a, b in pairs]),
        between_epochs=_mean([tau(run[epoch : epoch + 2]) for run in table for epoch in range(epochs - 1)]),
        spread=float(last.std(0, ddof=1).mean()),
        common=_mean([len(best[a] & best[b]) / top for a, b in pairs]),
        winners=len(set(table.argmax(2).ravel().tolist())),
        truth=() if known is None else tuple(tau(np.stack([row, known])) for row in last),
        averaged=float("nan") if known is None else tau(np.stack([table.mean((0, 1)), known])),
    )


def _mean(values: list[float]) -> float:
    return float(np.mean(values))
