"""How differently models err, and what averaging them can gain from it.

Paper: Diverse Weight Averaging for Out-of-Distribution Generalization (2022, https://arxiv.org/abs/2205.09739): the ratio-error
of section 4, and the bias-variance-covariance-locality decomposition of proposition 1. Code of the ratio-error by the same
authors: https://github.com/alexrame/domainbedv2 (domainbed/lib/diversity_metrics.py). We differ where two models never err
together: the code then gives twice the share of single errors, a number on another scale; we give infinity.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf, nan

import torch
from torch import Tensor

from ..errors import BadParameter, TooFewSets
from ..shapes import Float
from ..weights import Weights
from ..weights.gram import norm

# R = repeated runs, M = members of one average, N = examples, C = classes or outputs


def ratio_error(first: Tensor, second: Tensor, labels: Tensor) -> float:
    """Number of examples that exactly one of two models gets wrong, over the number that both get wrong.

    Higher is more diverse. Infinity where they never err together but do err; 0 where neither errs at all.

    Part of: diversity.

    Args:
        first, second: predicted classes, one an example.
        labels: the right ones.

    Raises:
        BadParameter: the lengths differ, or there is no example.

    >>> labels = torch.zeros(5, dtype=torch.long)
    >>> ratio_error(torch.tensor([1, 1, 0, 0, 0]), torch.tensor([2, 0, 3, 4, 0]), labels)
    3.0
    """
    if not (first.shape == second.shape == labels.shape) or labels.ndim != 1 or not len(labels):
        raise BadParameter(f"predictions and labels are one class an example; found shapes {[tuple(x.shape) for x in (first, second, labels)]}.")
    wrong, also = first != labels, second != labels
    one, both = int((wrong ^ also).sum()), int((wrong & also).sum())
    return one / both if both else inf if one else 0.0


def diversity(predictions: Sequence[Tensor], labels: Tensor) -> float:
    """Mean ratio-error over all pairs of models, as DiWA reports it.

    Args:
        predictions: predicted classes of each model.
        labels: the right ones.

    Raises:
        TooFewSets: there are fewer than two models.
        BadParameter: as for `ratio_error`.

    >>> labels = torch.zeros(4, dtype=torch.long)
    >>> diversity([torch.tensor([1, 0, 0, 1]), torch.tensor([1, 1, 0, 0]), torch.tensor([1, 0, 0, 1])], labels)
    1.3333333333333333
    """
    if len(predictions) < 2:
        raise TooFewSets(f"diversity compares pairs of models, found {len(predictions)} model{'s' * (len(predictions) != 1)}.")
    pairs = [ratio_error(a, b, labels) for a, b in combinations(predictions, 2)]
    return sum(pairs) / len(pairs)


@dataclass(frozen=True)
class Decomposition:
    """Terms of the expected squared error of an average of M members, each a mean over examples, outputs summed.

    Args:
        members: M.
        bias: squared, of the mean prediction; averaging does not change it.
        variance: of one member's prediction; averaging divides it by M.
        covariance: of two members of one average: what diversity lowers.
        locality: squared distance of the farthest member from the average of weights, mean over runs; NaN without weights.
            Far members make the average of weights differ from the average of predictions, which the other terms describe.
    """

    members: int
    bias: float
    variance: float
    covariance: float
    locality: float = nan

    @property
    def error(self) -> float:
        """bias + variance / M + (M - 1) / M covariance: the squared error of the average of predictions."""
        return self.bias + self.variance / self.members + (1 - 1 / self.members) * self.covariance


def decompose(
    predictions: Float[Tensor, "runs members examples outputs"],
    targets: Tensor,
    weights: Sequence[Sequence[Weights]] | None = None,
) -> Decomposition:
    """Bias, variance, covariance and locality of averages of M members, estimated from repeated runs.

        E error = bias^2 + var / M + (M - 1) / M cov + O(locality)

    Expectations over the learning procedure are means over all runs and members (cov: over pairs within a run), so the identity
    for the average of predictions holds exactly for the numbers returned.

    Args:
        predictions: probabilities or any outputs of every member of every run.
        targets: classes "examples", compared as one-hot rows, or real rows "examples outputs".
        weights: the members of every run, for the locality.

    Raises:
        TooFewSets: fewer than two runs or members: a covariance cannot be seen then.
        BadParameter: shapes that do not fit.

    >>> outputs = torch.tensor([[[[1.0]], [[3.0]]], [[[3.0]], [[5.0]]]])       # two runs of two members, one example
    >>> found = decompose(outputs, torch.tensor([[3.0]]))
    >>> found.bias, found.variance, found.covariance, found.error
    (0.0, 2.0, 0.0, 1.0)
    """
    runs, members, examples, outputs = predictions.shape
    if runs < 2 or members < 2:
        raise TooFewSets(f"a covariance needs at least 2 runs of at least 2 members, found {runs} of {members}.")
    rows = targets if targets.is_floating_point() else torch.nn.functional.one_hot(targets, outputs)
    if rows.shape != (examples, outputs):
        raise BadParameter(f"targets of shape {tuple(targets.shape)} do not fit predictions of {examples} examples and {outputs} outputs.")
    wide = predictions.double()
    mean_NC = wide.mean((0, 1))
    off_RMNC = wide - mean_NC
    variance = float(off_RMNC.square().sum((2, 3)).mean()) / examples
    together = float(off_RMNC.sum(1).square().sum((1, 2)).mean()) / examples  # of the sum of a run's members
    covariance = (together - members * variance) / (members * (members - 1))
    bias = float((rows - mean_NC).square().sum()) / examples
    return Decomposition(members, bias, variance, covariance, nan if weights is None else _locality(weights, runs, members))


def locality(members: Sequence[Weights]) -> float:
    """max_m |w_m - mean of the members|^2 over floating tensors, the neighbourhood in which averaging weights is averaging predictions.

    Raises:
        TooFewSets: there is no member.
        NamesDiffer, ShapesDiffer, IntegersDiffer: the members do not agree, or hold integer tensors (select the others).

    >>> locality([Weights.of({"w": torch.tensor([x])}) for x in (0.0, 1.0, 5.0)])
    9.0
    """
    if not members:
        raise TooFewSets("locality needs at least one member.")
    mean = members[0] * (1 / len(members))
    for other in members[1:]:
        mean = mean + other * (1 / len(members))
    return max(norm(w - mean) ** 2 for w in members)


def _locality(weights: Sequence[Sequence[Weights]], runs: int, members: int) -> float:
    if len(weights) != runs or any(len(run) != members for run in weights):
        raise BadParameter(f"weights of {[len(run) for run in weights]} members do not fit predictions of {runs} runs of {members} members.")
    return sum(map(locality, weights)) / runs
