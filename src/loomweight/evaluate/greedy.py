"""Greedy selection: which of many weight sets to average.

Papers: Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing inference time (2022,
https://arxiv.org/abs/2203.05482), recipe 1; Diverse Weight Averaging for Out-of-Distribution Generalization (2022,
https://arxiv.org/abs/2205.09739), algorithm 1, the restricted selection; Model Ratatouille: Recycling Diverse Models for
Out-of-Distribution Generalization (2022, https://arxiv.org/abs/2212.10445) uses it on models of many starts. Both papers, and
the code of DiWA (https://github.com/alexrame/diwa, domainbed/scripts/diwa.py), keep a candidate when the score does not fall;
the code of model soups (https://github.com/mlfoundations/model-soups, main.py) only when it rises: strict=True.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import isnan

from ..errors import BadParameter, NonFinite
from ..weights import Weights


@dataclass(frozen=True)
class Attempt:
    """One candidate that was tried: its index, the score of the average with it, and whether it was kept."""

    candidate: int
    score: float
    kept: bool


@dataclass(frozen=True)
class Selection:
    """Outcome of a greedy selection; iterating over it gives the chosen indices.

    Args:
        chosen: indices of the kept candidates, best single one first.
        score: that of their average.
        singles: the score of every candidate alone.
        attempts: what was tried, in this order; the best single candidate is the first.
    """

    chosen: tuple[int, ...]
    score: float
    singles: tuple[float, ...]
    attempts: tuple[Attempt, ...]

    def __iter__(self) -> Iterator[int]:
        return iter(self.chosen)


def greedy_soup(
    candidates: Sequence[Weights],
    score: Callable[[Weights], float],
    average: Callable[[Sequence[int]], Weights],
    *,
    singles: Sequence[float] | None = None,
    strict: bool = False,
) -> Selection:
    """Go through the candidates from the best single one down; keep each whose addition does not lower the average's score.

    The result scores at least as well as the best single candidate. n candidates take n - 1 scores of averages, and n more of
    single ones unless these are given.

    Args:
        candidates: the weight sets.
        score: of a weight set, on validation data; higher is better.
        average: of the candidates with these indices: `lambda chosen: combine([candidates[i] for i in chosen], Mean())`.
        singles: the score of every candidate alone, where they are known.
        strict: keep a candidate only if the score rises.

    Raises:
        BadParameter: there is no candidate, or not one single score for each.
        NonFinite: a score is NaN; the message names the candidates.

    >>> import torch
    >>> points = torch.tensor([0.0, 4.0, 3.0])       # 1 is wanted: 0 alone is nearest, with 3 it is 1.5, with 4 too it is 2.3
    >>> sets = [Weights.of({"w": point}) for point in points]
    >>> found = greedy_soup(sets, lambda w: -abs(float(w["w"]) - 1), lambda chosen: Weights.of({"w": points[list(chosen)].mean()}))
    >>> list(found)
    [0, 2]
    """
    count = len(candidates)
    if not count:
        raise BadParameter("a soup needs at least one candidate, found none.")
    if singles is not None and len(singles) != count:
        raise BadParameter(f"there are {len(singles)} single scores for {count} candidates; give one for each.")

    alone = [_sound(float(value), [i]) for i, value in enumerate(map(score, candidates) if singles is None else singles)]
    first, *rest = sorted(range(count), key=lambda i: -alone[i])
    chosen, best = [first], alone[first]
    attempts = [Attempt(first, best, True)]
    for i in rest:
        value = _sound(float(score(average((*chosen, i)))), (*chosen, i))
        kept = value > best if strict else value >= best
        attempts.append(Attempt(i, value, kept))
        if kept:
            chosen.append(i)
            best = value
    return Selection(tuple(chosen), best, tuple(alone), tuple(attempts))


def _sound(value: float, chosen: Sequence[int]) -> float:
    if isnan(value):
        raise NonFinite(f"the score of {'candidate' if len(chosen) == 1 else 'the average of candidates'} {', '.join(map(str, chosen))} is NaN.")
    return value
