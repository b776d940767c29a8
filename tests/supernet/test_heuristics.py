import pytest
import torch
from torch import nn

from loomweight.errors import BadParameter, UnknownName
from loomweight.supernet import ByOperator, ImportantPaths, Recipe, elastic, heuristics, varied
from loomweight.supernet.heuristics import trained


def build(seed: int):
    """Narrow first layers cannot carry the eight directions that the labels depend on."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 8))
    return elastic(model, "width 0 : 1 2 4 8 16", torch.zeros(2, 8))


def data(seed: int, size: int):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(size, 8, generator=random)
    return x, x.argmax(1)


TRUTH = [({"width 0": width}, accuracy) for width, accuracy in ((1, 25.0), (2, 40.0), (4, 62.0), (8, 81.0), (16, 81.04))]


def test_a_trained_supernet_ranks_better_than_an_untrained_one_and_the_table_says_so():
    recipes = {"trained": Recipe(epochs=6), "untrained": Recipe(epochs=1, rate=0.0), "by operator": Recipe(epochs=4, sampler=ByOperator)}
    table = heuristics(build, data(0, 400), data(1, 300), TRUTH, recipes, noise=0.1, seeds=(0, 1))
    assert table["trained"].mean == 1.0
    assert table["untrained"].mean < 0.9
    assert table["parameters"].mean == 1.0
    assert [row.mean for row in table.rows] == sorted((row.mean for row in table.rows), reverse=True)
    text = str(table).splitlines()
    assert text[0].startswith("recipe")
    assert len(text) == 5
    again = heuristics(build, data(0, 400), data(1, 300), TRUTH, {"trained": recipes["trained"]}, noise=0.1, seeds=(0, 1))
    assert again["trained"] == table["trained"]


def test_options_do_what_they_say():
    x, y = data(0, 100)
    steps = []

    def counting():
        sampler = ByOperator()
        draw = sampler.draw
        sampler.draw = lambda *args: steps.append(1) or draw(*args)  # type: ignore[method-assign]
        return sampler

    trained(build(0), (x, y), Recipe(sampler=counting, subnets=2, epochs=3, batch=10, data=0.4), seed=0)
    assert len(steps) == 2 * 3 * 4
    whole, still = trained(build(0), (x, y), Recipe(epochs=1), seed=0), trained(build(0), (x, y), Recipe(epochs=1, rate=0.0), seed=0)
    assert not torch.equal(whole.state_dict()["0.weight"], build(0).state_dict()["0.weight"])
    assert torch.equal(still.state_dict()["0.weight"], build(0).state_dict()["0.weight"])
    decayed = trained(build(0), (x, y), Recipe(epochs=2, decay=0.3), seed=0)
    assert decayed.state_dict()["3.weight"].norm() < trained(build(0), (x, y), Recipe(epochs=2), seed=0).state_dict()["3.weight"].norm()


def test_own_statistics_score_better_than_shared_ones():
    """What the norm sees depends on how many units the layer before it has, so that running statistics fit none of the subnets."""

    def narrowing(seed: int):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 8))
        nn.init.constant_(model[0].bias, 2.0)
        return elastic(model, "width 0 : 2 4 8 16", torch.zeros(2, 8))

    table = heuristics(narrowing, data(0, 300), data(1, 300), TRUTH[1:], varied(Recipe(epochs=5), statistics=["shared"]), noise=0.1)
    assert table["base"].score[0] > table["statistics=shared"].score[0] + 0.03


def test_samplers_that_depend_on_progress_are_told_how_long_it_is():
    def paths():
        return ImportantPaths(every=5)

    trained(build(0), data(0, 64), Recipe(sampler=paths, epochs=2), seed=0)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Recipe(epochs=0), BadParameter, "epochs and batch at least 1"),
        (lambda: Recipe(data=0.0), BadParameter, r"data in \(0, 1\]"),
        (lambda: Recipe(statistics="none"), BadParameter, "'own' or 'shared', found 'none'"),
        (lambda: varied(Recipe(), speed=[1]), UnknownName, "no option of a recipe named 'speed'"),
    ],
)
def test_bad_recipes_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
