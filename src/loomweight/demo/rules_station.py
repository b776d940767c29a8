"""What each family of rules does with five fine-tunes of one start, and with five strangers."""

from collections.abc import Iterator

from .. import rules
from ..evaluate import greedy_soup
from ..evidence import fisher
from ..rules import Around, Fisher, Mean, Median, Per, combine
from ..weights import Weights
from .models import Row, Zoo, network


def rules_station(zoo: Zoo) -> list[Row]:
    """The table: the models alone, then what they become together."""
    return [*_alone(zoo), *_together(zoo), *_strangers(zoo)]


def _alone(zoo: Zoo) -> Iterator[Row]:
    yield zoo.row("start", zoo.start, "what all fine-tunes began with")
    scores = [zoo.score(weights) for weights in zoo.tuned]
    yield Row("fine-tunes alone, mean", *_means(scores), "each saw five digits well, five hardly")
    yield Row("fine-tunes alone, best", max(accuracy for accuracy, _ in scores), min(loss for _, loss in scores), "chosen on the test digits: no fair rival")


def _together(zoo: Zoo) -> Iterator[Row]:
    for name, rule, remark in (
        ("uniform soup", Mean(), "the mean"),
        ("median", Median(), "entry by entry; two bad models cannot move it far"),
        ("geometric median", rules.GeometricMedian(), "one weight a model, from distances"),
        ("task arithmetic", Around(zoo.start, Mean(normalize=False, weights=(0.4,) * len(zoo.tuned))), "start + 0.4 x the sum of the differences"),
        ("ties", rules.ties(zoo.start, keep=0.5, scale=1.5), "trim, elect a sign, mean of those that agree"),
        ("dare", rules.dare_linear(zoo.start, density=0.5, weights=(0.4,) * len(zoo.tuned)), "the same with half of each difference dropped, the rest doubled"),
        ("model stock", Around(zoo.start, Per("layer", rules.ModelStock())), "towards the start, as far as the angles say"),
        ("fisher", Fisher(tuple(_evidence(zoo))), "each entry weighted by what its model knows"),
    ):
        yield zoo.row(name, combine(zoo.tuned, rule), remark)
    chosen = _greedy(zoo)
    yield zoo.row(f"greedy soup of {len(chosen)}", combine([zoo.tuned[i] for i in chosen], Mean()), "added while validation does not fall")


def _strangers(zoo: Zoo) -> Iterator[Row]:
    scores = [zoo.score(weights) for weights in zoo.strangers]
    yield Row("strangers alone, mean", *_means(scores), "trained on everything, each from its own start")
    yield zoo.row("mean of strangers", combine(zoo.strangers, Mean()), "fails: their hidden units are in different order")


def _means(scores: list[tuple[float, float]]) -> tuple[float, float]:
    """Mean accuracy and mean loss."""
    return sum(accuracy for accuracy, _ in scores) / len(scores), sum(loss for _, loss in scores) / len(scores)


def _evidence(zoo: Zoo) -> list[Weights]:
    found = []
    for weights, share in zip(zoo.tuned, zoo.shares, strict=True):
        model = network()
        model.load_state_dict(dict(weights))
        found.append(fisher(model, [share], labels="expected", samples=150))
    return found


def _greedy(zoo: Zoo) -> list[int]:
    chosen = greedy_soup(zoo.tuned, score=lambda w: zoo.score(w, zoo.validation)[0], average=lambda ids: combine([zoo.tuned[i] for i in ids], Mean()))
    return list(chosen)
