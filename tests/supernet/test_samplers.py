import json
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from loomweight.errors import BadParameter, UnknownName
from loomweight.search import Ridge
from loomweight.supernet import (
    AnyConnection,
    Attentive,
    Balanced,
    ByOperator,
    ImportantPaths,
    Sampler,
    Shifting,
    SinglePath,
    Stratified,
    SubnetOptimizer,
    Uniform,
    elastic,
)

from .training import batch, deep, mlp, params


def drawn(sampler: Sampler, net, count: int, seed: int = 0) -> list[dict]:
    random = np.random.default_rng(seed)
    return [sampler.draw(net, random, number / count) for number in range(count)]


def places(net, values: list[dict]) -> np.ndarray:
    low, high = params(net, net.min()), params(net, net.max())
    return np.array([(params(net, one) - low) / (high - low) for one in values])


def blocks():
    torch.manual_seed(0)
    layers = nn.ModuleList([nn.Sequential(nn.Linear(5, 8), nn.Linear(8, 5)) for _ in range(3)])

    class Chain(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers, self.head = layers, nn.Linear(5, 3)

        def forward(self, x):
            for layer in self.layers:
                x = x + layer(x)
            return self.head(x)

    return elastic(Chain(), "depth layers : 1 2 3\nwidth layers.*.0 : 2 4 8", torch.zeros(2, 5))


def test_by_operator_trains_each_option_exactly_as_often_as_the_others():
    net = mlp(space="width 0 : 2 4 8\nwidth 3 : 2 3 6")
    values = drawn(ByOperator(), net, 15)
    for name, dimension in net.space.dimensions.items():
        assert Counter(one[name] for one in values) == dict.fromkeys(dimension.options, 5)
    uneven = Counter(one["width 0"] for one in drawn(Uniform(), net, 15))
    assert max(uneven.values()) > min(uneven.values())


def test_by_operator_counts_an_option_only_where_its_layer_is_in_use():
    net = blocks()
    trained: dict[str, Counter] = {name: Counter() for name in net.space.names}
    for values in drawn(ByOperator(), net, 90):
        for name in net.space.matters(values):
            trained[name][values[name]] += 1
    for counts in trained.values():
        assert max(counts.values()) - min(counts.values()) <= 1


def test_fair_single_paths_give_every_option_the_same_number_of_gradients():
    net, (x, y) = mlp(space="width 0 : 2 4 8\nwidth 3 : 2 3 6"), batch()
    sampler = ByOperator()
    SinglePath(loss=torch.nn.functional.cross_entropy, sampler=sampler, subnets=3)(net, x, y)
    assert not any(sampler.left.values())


def test_stratified_draws_are_flat_over_cost_where_uniform_ones_pile_up():
    net = deep()
    flat, piled = (np.histogram(places(net, drawn(sampler, net, 80)), bins=8, range=(0, 1))[0] for sampler in (Stratified(8, params), Uniform()))
    assert flat.min() >= 8
    assert flat.max() <= 12
    assert piled.max() >= 20
    assert piled[6:].sum() == 0


def test_stratified_draws_of_one_cost_are_not_all_alike():
    net = deep()
    values = drawn(Stratified(4, params), net, 80)
    second = [one for one, place in zip(values, places(net, values), strict=True) if 0.25 <= place < 0.5]
    assert len({tuple(one.values()) for one in second}) >= 15


def test_a_small_space_is_listed_and_levels_that_hold_nothing_are_left_out():
    net = mlp(space="width 0 : 2 8")
    counts = Counter(one["width 0"] for one in drawn(Stratified(8, "params"), net, 20))
    assert counts == {2: 10, 8: 10}


@pytest.mark.parametrize(("pick", "order"), [("best", 1), ("worst", -1)])
def test_attentive_picks_are_better_or_worse_at_the_same_cost(pick, order):
    """The predictor likes early layers wide and late ones narrow: a quantity that cost does not decide."""
    net = deep()

    class Likes:
        def predict(self, x):
            return x @ np.array([1, 1, 1, -1, -1, -1])

    picked, plain = (drawn(sampler, net, 60) for sampler in (Attentive(Likes(), pick, candidates=6, cost=params), Uniform()))
    worth = [np.mean([Likes().predict(net.space.encode(one)) for one in several]) for several in (picked, plain)]
    assert order * (worth[0] - worth[1]) > 0.5
    assert abs(places(net, picked).mean() - places(net, plain).mean()) < 0.06


def test_attentive_takes_the_predictors_of_search():
    net = mlp(space="width 0 : 2 4 8\nwidth 3 : 2 3 6")
    rows = [net.space.encode(values) for values in net.space.enumerate()]
    predictor = Ridge().fit(rows, [float(row[0]) for row in rows])
    best = drawn(Attentive(predictor, candidates=12, levels=2, cost="params"), net, 30)
    assert Counter(one["width 0"] for one in best)[2] == 0


def test_paths_drawn_by_gradient_norm_have_less_gradient_variance():
    """One field, each option of which has its own tensors in effect: the estimate of the mean gradient over options from one drawn option."""
    net, (x, y) = mlp(space="width 0 : 1 2 4 8"), batch()
    loss = lambda out, y: torch.nn.functional.cross_entropy(out * 3, y)  # noqa: E731
    sampler = ImportantPaths(every=40)
    step = SinglePath(loss=loss, sampler=sampler, total=80)
    for _ in range(81):
        net.zero_grad()
        step(net, x, y)
    options = net.space.dimensions["width 0"].options
    gradients = []
    for width in options:
        net.zero_grad()
        loss(net.select({"width 0": width})(x), y).backward()
        gradients.append(torch.cat([_whole(one) for one in net.stored().values()]))

    def variance(odds) -> float:
        mean = sum(gradients) / len(gradients)
        return sum(p * float((g / (len(gradients) * p) - mean).square().sum()) for p, g in zip(odds, gradients, strict=True))

    assert variance(sampler.odds["width 0"]) < 0.97 * variance([0.25] * 4)
    norms = [float(gradient.norm()) for gradient in gradients]
    assert np.argsort(sampler.odds["width 0"]).tolist() == np.argsort(norms).tolist()


def _whole(one) -> torch.Tensor:
    full = torch.zeros_like(one.tensor)
    for leaf in one.with_gradient():
        leaf.view(full).add_(leaf.tensor.grad)
    return full.reshape(-1)


def test_path_odds_are_uniform_at_first_and_mixed_by_what_is_done():
    net, (x, y) = mlp(space="width 0 : 2 8"), batch()
    sampler = ImportantPaths(every=10)
    step = SinglePath(loss=torch.nn.functional.cross_entropy, sampler=sampler, total=20)
    for _ in range(20):
        net.zero_grad()
        step(net, x, y)
        if step.count == 9:
            assert sampler.odds["width 0"] == [0.5, 0.5]
            norms = list(sampler.norms["width 0"])
        if step.count == 10:
            tau = 9 / 20
            latest = sampler.odds["width 0"]
            assert latest[0] + latest[1] == pytest.approx(1)
            assert latest[0] == pytest.approx(tau * norms[0] / sum(norms) + (1 - tau) / 2)
    assert abs(sampler.odds["width 0"][0] - 0.5) > abs(latest[0] - 0.5)


def test_balanced_moves_the_mean_through_the_whole_range():
    net = deep(layers=12)
    low = {name: dimension.options.index for name, dimension in net.space.dimensions.items()}

    def means(sampler) -> np.ndarray:
        return np.array([np.mean([low[name](value) / 3 for name, value in one.items()]) for one in drawn(sampler, net, 160)])

    balanced, uniform = means(Balanced(stages=8, steps=10)), means(Uniform())
    np.testing.assert_allclose(balanced.reshape(2, 8, 10).mean(-1)[0], (np.arange(8) + 0.5) / 8, atol=0.1)
    np.testing.assert_allclose(balanced.reshape(2, 8, 10).mean(-1)[1], (np.arange(8)[::-1] + 0.5) / 8, atol=0.1)
    shares = [np.histogram(one, bins=4, range=(0, 1))[0] / 160 for one in (balanced, uniform)]
    assert shares[0].min() > 0.17
    assert shares[1][[0, 3]].max() < 0.05


def test_the_generator_gives_subnets_of_the_cost_that_is_asked_for():
    net = deep()
    sampler, random = Shifting(levels=4, cost=params), np.random.default_rng(0)
    targets = np.linspace(0.1, 0.9, 17)
    found = places(net, [sampler.generator.draw(net, sampler.levels, float(target), random) for target in targets])
    blind = places(net, drawn(Uniform(), net, 17))
    assert np.abs(found - targets).mean() < 0.6 * np.abs(blind - targets).mean()
    assert np.corrcoef(found, targets)[0, 1] > 0.85


def test_levels_whose_losses_still_change_are_drawn_more():
    net = deep()
    sampler, random = Shifting(levels=4, cost=params, floor=0.1), np.random.default_rng(0)
    before = Counter(sampler.levels.of(net, sampler.draw(net, random, 0.0)) for _ in range(40))
    assert min(before[level] for level in range(4)) >= 3
    for number in range(30):
        for level in range(4):
            values = sampler.levels.draw(net, level, random)
            sampler.told(values, 1.0 - 0.03 * number if level == 0 else 0.5, net)
    assert sampler.odds[0] > 0.85
    after = Counter(sampler.levels.of(net, sampler.draw(net, random, 0.0)) for _ in range(40))
    assert after[0] > 25


def wires():
    torch.manual_seed(0)
    return elastic(nn.Sequential(*(nn.Linear(4, 4) for _ in range(8))), "width * : 2 4", torch.zeros(2, 4))


def test_any_number_of_connections_is_on_and_exactly_one_operator():
    net = wires()
    inputs, operators = [f"width {i}" for i in range(4)], [f"width {i}" for i in range(4, 7)]
    values = drawn(AnyConnection([inputs], [operators]), net, 400)
    on = Counter(sum(one[name] == 4 for name in inputs) for one in values)
    assert set(on) == {1, 2, 3, 4}
    assert min(on.values()) > 70
    assert all(sum(one[name] == 4 for name in operators) == 1 for one in values)
    which = Counter(name for one in values for name in (*inputs, *operators) if one[name] == 4)
    assert all(200 < which[name] < 300 for name in inputs)
    assert all(100 < which[name] < 170 for name in operators)


def test_connections_of_a_block_are_bounded():
    values = drawn(AnyConnection([[f"width {i}" for i in range(6)]], most=2), wires(), 100)
    assert {sum(one[f"width {i}"] == 4 for i in range(6)) for one in values} == {1, 2}


MAKERS = {
    "uniform": Uniform,
    "by operator": ByOperator,
    "stratified": lambda: Stratified(4, params),
    "attentive": lambda: Attentive(Ridge().fit(np.eye(6), np.arange(6.0)), cost=params),
    "paths": lambda: ImportantPaths(every=3),
    "balanced": lambda: Balanced(3, 2),
    "shifting": lambda: Shifting(3, params),
    "connections": lambda: AnyConnection([["width 0", "width 2"]]),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_every_sampler_draws_subnets_trains_and_goes_on_exactly(make):
    x, y = batch()

    def trained(stop: int | None) -> tuple[list, dict]:
        net = deep()
        optimizer = SubnetOptimizer(net, torch.optim.SGD(net.parameters(), lr=0.05))
        made = make()
        total = 8 if made.uses_done else None
        step = SinglePath(loss=torch.nn.functional.cross_entropy, sampler=made, total=total)
        seen = []
        for number in range(8):
            if number == stop:
                saved = json.loads(json.dumps(step.state_dict()))
                step = SinglePath(loss=torch.nn.functional.cross_entropy, sampler=make(), total=total, seed=99)
                step.load_state_dict(saved)
            optimizer.zero_grad()
            seen.append(step(net, x, y))
            optimizer.step()
        return seen, net.state_dict()

    whole, halves = trained(None), trained(5)
    assert whole[0] == halves[0]
    assert all(torch.equal(whole[1][name], halves[1][name]) for name in whole[1])


class Odd:
    def predict(self, x):
        return [float("nan")] * len(x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Stratified(1), "at least 2 levels, found 1"),
        (lambda: Stratified(4, "speed"), "found 'speed'"),
        (lambda: drawn(Stratified(4, lambda net, values: 1.0), mlp(), 1), "costs 1, the largest 1: there is no range"),
        (lambda: Stratified(4).load_state_dict({"slopes": [1.0], "left": []}), "1 levels of cost, this sampler 4"),
        (lambda: Attentive(Ridge(), candidates=1), "at least 2 candidates .* found 1"),
        (lambda: Attentive(Ridge(), "middle"), "'best' or 'worst', found 'middle'"),
        (lambda: drawn(Attentive(Odd(), cost="params"), mlp(), 1), r"answer for 3 candidates is \[nan, nan, nan\]"),
        (lambda: ImportantPaths(every=0), "found every=0"),
        (lambda: ImportantPaths(every=1).load_state_dict({"left": {}}), "no state of ImportantPaths: it holds 'left'"),
        (lambda: SinglePath(loss=torch.nn.functional.cross_entropy, sampler=ImportantPaths(every=1), total=9, subnets=2), "one subnet at a time"),
        (lambda: Balanced(stages=1), "found stages=1"),
        (lambda: Balanced().load_state_dict({}), "holds nothing instead of 'drawn'"),
        (lambda: ByOperator().load_state_dict({}), "holds nothing instead of 'left'"),
        (lambda: Shifting(floor=1.0), "found 0.3, 1.0 and 4"),
        (lambda: Shifting(3).load_state_dict({}), "0 levels of cost, this sampler 3"),
        (AnyConnection, "at least one group"),
        (lambda: AnyConnection([["a", "b"], ["b"]]), "b is in two"),
        (lambda: AnyConnection([["a", "b"]], most=2), "between 1 and 1, .* found 2"),
        (lambda: drawn(AnyConnection([["width 0", "width 9"]]), mlp(), 1), "no field named 'width 9'; nearest: "),
    ],
)
def test_bad_samplers_are_refused(make, message):
    with pytest.raises((BadParameter, UnknownName), match=message):
        make()


@pytest.mark.parametrize("kind", ["params", "nbytes"])
def test_sizes_are_counted_without_running_the_subnet(kind):
    net = mlp(space="width 0 : 2 8\nwidth 3 : 3 6")
    ran: list = []
    net.model.register_forward_hook(lambda *_: ran.append(1))
    levels = Stratified(4, kind).levels
    counted = [levels.cost(net, values) for values in net.space.enumerate()]
    assert not ran
    assert counted == [getattr(net.cost(values), kind) for values in net.space.enumerate()]
    assert ran
