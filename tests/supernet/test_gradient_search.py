"""Searches by gradient: each holds to what its paper says it controls, on problems whose best choice is planted or known in closed form."""

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from loomweight.errors import BadParameter, NamesDiffer, NonFinite, ShapesDiffer
from loomweight.search import Ordered, Space
from loomweight.supernet import (
    AutoHas,
    Choice,
    Darts,
    Dirichlet,
    DropNas,
    Gates,
    GoldNas,
    GroupedDropout,
    Gumbel,
    Join,
    Rarts,
    Relaxed,
    Rome,
    Softmax,
    SubnetOptimizer,
    costs_of,
    elastic,
    relaxed,
    select_by_perturbation,
)
from loomweight.supernet.gradient.coefficients import Field

mse = nn.functional.mse_loss
SGD, Adam = torch.optim.SGD, torch.optim.Adam


class Toy(Relaxed):
    """The bilevel problem of DARTS, figure 2: L_valid = a w - 2 a + 1, L_train = w^2 - 2 a w + a^2; the best is a = w = 1."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.w, self.a = nn.Parameter(torch.tensor(-2.0)), nn.Parameter(torch.tensor(2.0))
        self.random = torch.Generator()

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        return {"w": self.w}

    @property
    def alphas(self) -> dict[str, nn.Parameter]:
        return {"a": self.a}

    def penalty(self) -> Tensor:
        return torch.zeros(())

    def run(self, inputs: Any, weights: Mapping[str, Tensor] | None = None, coefficients: Mapping[str, Tensor] | None = None) -> Any:
        return (weights or self.weights)["w"], self.a


def toy_loss(outputs: tuple[Tensor, Tensor], target: str) -> Tensor:
    w, a = outputs
    return (w - a).square() if target == "train" else a * w - 2 * a + 1


TRAIN, VALID = (None, "train"), (None, "valid")


@pytest.mark.parametrize(("order", "best"), [(1, 2.0), (2, 1.0)])
def test_darts_of_second_order_finds_the_best_where_the_first_does_not(order: int, best: float) -> None:
    toy = Toy()
    search = Darts(toy, SGD([toy.w], 0.5), SGD([toy.a], 0.05), toy_loss, order)
    for _ in range(150):
        search.step(TRAIN, VALID)
    assert toy.a.item() == pytest.approx(best, abs=1e-3)  # the fixed point is approached in steps, not reached
    assert toy.w.item() == pytest.approx(best, abs=1e-3)  # the fixed point is approached in steps, not reached


@pytest.mark.parametrize("coefficients", [Softmax(), Gumbel(1.0, 1.0)], ids=["softmax", "gumbel"])
def test_the_second_order_is_that_of_automatic_differentiation(coefficients: Any) -> None:
    """Second formula: differentiate the validation loss through one step of SGD with momentum and decay."""
    torch.manual_seed(0)
    model = nn.Sequential(Choice({"tanh": nn.Tanh(), "linear": nn.Linear(3, 3)}), nn.Linear(3, 2)).double()
    mixed = relaxed(model, coefficients, seed=4)
    train, valid = [(torch.randn(8, 3).double(), torch.randn(8, 2).double()) for _ in range(2)]
    sgd = SGD(mixed.weights.values(), 0.1, momentum=0.9, weight_decay=0.01)
    mse(model(train[0]), train[1]).backward()
    sgd.step()
    state = mixed.random.get_state()
    found = Darts(mixed, sgd, SGD(mixed.alphas.values(), 0.1), mse, 2)._second(list(mixed.alphas.values()), train, valid)
    weights = mixed.weights

    def loss(batch: Any, chosen: Any) -> Tensor:
        mixed.random.set_state(state)
        return mse(mixed.run(batch[0], chosen), batch[1])

    first = torch.autograd.grad(loss(train, weights), list(weights.values()), create_graph=True, allow_unused=True)
    unrolled = {}
    for (name, w), gradient in zip(weights.items(), first, strict=True):
        buffer = sgd.state.get(w, {}).get("momentum_buffer")
        unrolled[name] = w.detach() - 0.1 * ((0 if gradient is None else gradient) + 0.01 * w.detach() + (0 if buffer is None else 0.9 * buffer))
    (wanted,) = torch.autograd.grad(loss(valid, unrolled), list(mixed.alphas.values()))
    torch.testing.assert_close(found[0], wanted, rtol=1e-3, atol=1e-5)


def test_rarts_reaches_its_minimum_and_its_copies_stay_together() -> None:
    """Setting all derivatives to 0: a = 2 / (2 - 1 / (2 share) - 1 / pull), w - y = a / pull; near the best, 1, for large factors."""
    for share, pull in ((10.0, 10.0), (4.0, 20.0)):
        toy = Toy()
        rate = 1 / (2 * share + pull)
        search = Rarts(toy, SGD([toy.w], rate), lambda tensors, pull=pull: SGD(tensors, 1 / pull), SGD([toy.a], 0.5 / share), toy_loss, share, pull)
        for _ in range(300):
            search.step(TRAIN, VALID)
        assert toy.a.item() == pytest.approx(2 / (2 - 1 / (2 * share) - 1 / pull), abs=1e-3)  # the fixed point is approached in steps, not reached
        assert toy.w.item() - search.copy["w"].item() == pytest.approx(toy.a.item() / pull, abs=1e-3)  # the fixed point is approached in steps, not reached


OPTIONS = ("skip", "halved", "good", "noise")


class Half(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / 2


def planted(seed: int = 0, *, train: bool = False) -> tuple[Choice, tuple[Tensor, Tensor]]:
    """A place whose candidate `good` is the teacher; candidates are fixed unless `train`."""
    torch.manual_seed(seed)
    place = Choice({"skip": nn.Identity(), "halved": Half(), "good": nn.Linear(4, 4, bias=False), "noise": nn.Linear(4, 4, bias=False)})
    for module in place.children():
        module.requires_grad_(train)
    x = torch.randn(64, 4)
    return place, (x, place.good(x).detach())


def outer(place: nn.Module) -> nn.Module:
    """With a weight beside the place, so that there is one to train."""
    return nn.Sequential(place, nn.Linear(4, 4))


def test_searches_find_the_planted_operator() -> None:
    for make in (
        lambda m, w, a: Darts(m, w, a, mse, 2),
        lambda m, w, a: Rarts(m, w, lambda tensors: SGD(tensors, 0.05), a, mse),
        lambda m, w, a: DropNas(m, w, a, mse),
        lambda m, w, a: Rome(m, w, a, mse, 4),
    ):
        place, (x, y) = planted()
        model = outer(place)
        with torch.no_grad():
            model[1].weight.copy_(torch.eye(4))
            model[1].bias.zero_()
        coefficients = {"DropNas": GroupedDropout(0.2), "Rome": Gumbel(5.0, 0.5)}
        name = make.__code__.co_names[0]
        mixed = relaxed(model, coefficients.get(name, Softmax()))
        search = make(mixed, SGD(mixed.weights.values(), 0.02), Adam(mixed.alphas.values(), 0.1))
        for step in range(60):
            mixed.done = step / 60
            search.step((x[:32], y[:32]), *(() if name == "DropNas" else ((x[32:], y[32:]),)))
        assert mixed.values() == {"0": "good"}, name


def test_dropnas_drops_by_groups() -> None:
    field, random, alpha = Field("op", OPTIONS, (True, True, False, False)), torch.Generator().manual_seed(0), torch.tensor([0.3, -0.2, 0.5, 0.0])
    draws = torch.stack([GroupedDropout(0.25).draw(alpha, field, random, 0.0) for _ in range(1000)])
    kept = draws > 0
    assert kept[:, :2].any(1).all() and kept[:, 2:].any(1).all()
    torch.testing.assert_close(draws.sum(1), torch.ones(1000))
    both = 0.5**2 / (1 - 0.5**2)  # each is dropped with probability 0.5, and drawn again where both are
    assert kept[:, :2].all(1).float().mean().item() == pytest.approx(both, abs=0.05)  # 1,000 draws: a standard error of 0.015, three are allowed
    ratio = draws[kept.all(1)][0]
    torch.testing.assert_close(ratio, alpha.softmax(0))


def test_dropnas_leaves_what_is_dropped_alone() -> None:
    place, batch = planted(train=True)
    mixed = relaxed(place, GroupedDropout(0.5), seed=3)
    search = DropNas(mixed, SGD(mixed.weights.values(), 0.1, 0.9, weight_decay=0.1), Adam(mixed.alphas.values(), 0.1, weight_decay=0.1), mse)
    seen = set()
    for _ in range(20):
        state = mixed.random.get_state()
        dropped = [name for name, c in zip(OPTIONS, mixed.draw()["model"], strict=True) if c == 0]
        mixed.random.set_state(state)
        alpha, weights = mixed.alphas["model"].detach().clone(), {name: w.detach().clone() for name, w in mixed.weights.items()}
        search.step(batch)
        for name in dropped:
            i = OPTIONS.index(name)
            assert mixed.alphas["model"][i] == alpha[i]
            torch.testing.assert_close(mixed.alphas["model"].softmax(0)[i], alpha.softmax(0)[i])
        for name in ("good", "noise"):
            assert torch.equal(mixed.weights[f"{name}.weight"], weights[f"{name}.weight"]) == (name in dropped)
        seen |= set(dropped)
    assert seen == set(OPTIONS)


def test_dropnas_keeps_operators_from_leaning_on_each_other() -> None:
    """Two layers that begin far apart stay so when trained together, for only their sum counts; where one may be away, each has to do the work."""
    without = {}
    for rate in (0.0, 0.4):
        torch.manual_seed(0)
        place = Choice({"skip": nn.Identity(), "halved": Half(), "one": nn.Linear(4, 4), "two": nn.Linear(4, 4)})
        with torch.no_grad():
            place.one.weight.add_(3)
            place.two.weight.sub_(3)
        x = torch.randn(64, 4)
        y = x @ torch.randn(4, 4)
        mixed = relaxed(place, GroupedDropout(rate))
        search = DropNas(mixed, SGD(mixed.weights.values(), 0.3), Adam(mixed.alphas.values(), 1e-3), mse)
        for _ in range(200):
            search.step((x, y))
        with torch.no_grad():
            each = [mse(mixed.run(x, coefficients={"model": torch.tensor(c)}), y).item() for c in ([1 / 3, 1 / 3, 1 / 3, 0.0], [1 / 3, 1 / 3, 0.0, 1 / 3])]
        without[rate] = max(each)
    assert without[0.4] < 0.1 * without[0.0]


def test_perturbation_keeps_what_the_size_of_alpha_would_drop() -> None:
    class Zero(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 0 * x

    torch.manual_seed(0)
    place = Choice({"works": nn.Linear(4, 4, bias=False), "idle": Zero()})
    x = torch.randn(32, 4)
    mixed = relaxed(outer(place))
    with torch.no_grad():
        mixed.alphas["0"].copy_(torch.tensor([0.0, 1.0]))
    y = mixed(x).detach()
    tuned = []
    assert mixed.values() == {"0": "idle"}
    assert select_by_perturbation(mixed, lambda m: mse(m(x), y).item(), tune=lambda m: tuned.append(m.draw()["0"].tolist())) == {"0": "works"}
    assert tuned == [[1.0, 0.0]]


def test_perturbation_takes_edges_away_one_by_one() -> None:
    """Edges 1 and 2 hold the same: either is of no use beside the other, but not both; edge 0 is worth more than edge 3."""
    node = Join([nn.Identity(), nn.Identity(), nn.Identity(), nn.Identity()], count=2)
    basis = torch.eye(3)
    inputs = (3 * basis[0], basis[1], basis[1], 0.1 * basis[2])
    mixed = relaxed(node, Gates())

    def evaluate(m: Relaxed) -> float:
        output = m.run(inputs)
        return float((output[0] - 1.5).abs() + (0.4 - output[1]).clamp_min(0) + (output[2] - 0.05).abs())

    assert select_by_perturbation(mixed, evaluate) in ({"model": "0+1"}, {"model": "0+2"})


def pair(seed: int = 0) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """Two places: the first needs its layer, the second is better with nothing but skip."""
    torch.manual_seed(seed)
    first, second = (Choice({"skip": nn.Identity(), "layer": nn.Linear(4, 4, bias=False)}) for _ in range(2))
    with torch.no_grad():
        first.layer.weight.copy_(3 * torch.eye(4).roll(1, 0))
        second.layer.weight.zero_()
    x = torch.randn(64, 4)
    return nn.Sequential(first, second), (x, 3 * x.roll(1, 1))


def test_goldnas_makes_a_series_in_one_run_that_ends_with_one_option_each() -> None:
    model, batch = pair()
    mixed = relaxed(model, Gates())
    search = GoldNas(mixed, SGD(mixed.weights.values(), 0.01), Adam(mixed.alphas.values(), 0.05), mse, costs_of(mixed), growth=0.05)
    prices = []
    for _ in range(60):
        for _ in range(5):
            search.step(batch)
        search.prune()
        prices.append(search.price)
        if search.over:
            break
    costs = [each.cost for each in search.series]
    assert search.over and len(costs) >= 3
    assert costs == sorted(costs, reverse=True) and len(set(costs)) > 1 and costs[0] == 1.0
    assert prices == sorted(prices)
    assert "layer" not in search.series[-1].kept["1"]
    gone = [next(i for i, each in enumerate(search.series) if "layer" not in each.kept[name]) for name in ("1",)]
    assert all("layer" in each.kept["0"] for each in search.series[: gone[0] + 1])
    assert mixed.values()["1"] == "skip"
    assert [set(a.kept[n]) >= set(b.kept[n]) for a, b in zip(search.series, search.series[1:], strict=False) for n in a.kept].count(False) == 0


def test_goldnas_price_grows_faster_while_nothing_goes() -> None:
    model, _ = pair()
    mixed = relaxed(model, Gates())
    search = GoldNas(mixed, SGD(mixed.weights.values(), 0.01), Adam(mixed.alphas.values(), 0.05), mse, costs_of(mixed), growth=1.0)
    for wanted in (2.0, 6.0, 14.0):
        search.prune()
        assert search.price == wanted
    with torch.no_grad():
        mixed.alphas["1"][1] = -9
    assert search.prune().kept == {"0": ("skip", "layer"), "1": ("skip",)}
    assert search.price == 15.0


def test_goldnas_price_is_of_what_is_left_and_concave() -> None:
    model, _ = pair()
    mixed = relaxed(model, Gates())
    search = GoldNas(mixed, SGD(mixed.weights.values(), 0.01), Adam(mixed.alphas.values(), 0.05), mse, {"0": [0.0, 1.0], "1": [0.0, 3.0]})
    assert search.resources().item() == pytest.approx((0.25 + 0.75) * torch.tensor(2.0).log().item())
    with torch.no_grad():
        mixed.alphas["1"][1] = -9
    search.prune()
    assert search.resources().item() == pytest.approx(0.25 * torch.tensor(2.0).log().item())


class Node(nn.Module):
    """Three inputs, of which two are kept: x, an operator of x, and noise."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.op = Choice({"skip": nn.Identity(), "linear": nn.Linear(4, 4, bias=False)})
        self.join = Join([nn.Identity(), nn.Identity(), nn.Identity()], count=2)
        self.scale = nn.Parameter(torch.ones(()))
        self.op.linear.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.join(x, torch.ones_like(x), self.op(x))


def test_rome_finds_topology_and_operator_and_runs_single_paths() -> None:
    model, x = Node(), torch.randn(64, 4)
    y = (x + model.op.linear(x)).detach()
    ran: list[str] = []
    for name in ("linear", "skip"):
        model.op._modules[name].register_forward_hook(lambda *_, name=name: ran.append(name))
    for i, edge in enumerate(model.join.edges):
        edge.register_forward_hook(lambda *_, i=i: ran.append(f"edge {i}"))
    mixed = relaxed(model, Gumbel(5.0, 0.5))
    search = Rome(mixed, SGD([model.scale], 0.001), Adam(mixed.alphas.values(), 0.1), mse, samples=3)
    search.step((x, y), (x, y))
    assert len([name for name in ran if "edge" not in name]) == 6
    assert len([name for name in ran if "edge" in name]) == 12
    for step in range(80):
        mixed.done = step / 80
        search.step((x, y), (x, y))
    assert mixed.values() == {"op": "linear", "join": "0+2"}


def test_rome_gradients_vary_less_the_more_networks_they_average() -> None:
    model, x = Node(), torch.randn(64, 4)
    y = (x + model.op.linear(x)).detach()
    spread = {}
    for samples in (1, 8):
        mixed = relaxed(model, Gumbel(2.0, 2.0))
        search = Rome(mixed, SGD([model.scale], 0.1), Adam(mixed.alphas.values(), 0.1), mse, samples=samples)
        alphas = list(mixed.alphas.values())
        several = torch.stack([flat(alphas, search._averaged((x, y), alphas)[1]) for _ in range(60)])
        spread[samples] = several.var(0).sum().item()
    assert spread[8] < spread[1] / 4


def flat(tensors: Any, found: Any) -> Tensor:
    return torch.cat([torch.zeros_like(tensor) if gradient is None else gradient for tensor, gradient in zip(tensors, found, strict=True)])


def net_of(width: str = "1 4 8") -> Any:
    torch.manual_seed(0)
    return elastic(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)), f"width 0 : {width}", torch.zeros(1, 4))


def test_autohas_finds_the_planted_learning_rate() -> None:
    net, x = net_of("4 8"), torch.randn(64, 4)
    y = x.sum(1, keepdim=True)
    hyper = Space({"lr": Ordered((1e-4, 0.05, 20.0))})
    search = AutoHas(net, hyper, mse, lambda m, batch: -min(10.0, mse(m(batch[0]), batch[1]).item()), rate=0.15, memory=0.8)
    for _ in range(60):
        state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        search.step((x[:32], y[:32]), (x[32:], y[32:]))
        net.load_state_dict(state)
    assert search.values()[1] == {"lr": 0.05}
    assert search.chances()["lr"][1] > 0.6


def test_autohas_finds_the_planted_width_and_a_temporary_update_leaves_no_trace() -> None:
    net, x = net_of(), torch.randn(8, 4)
    seen: list[Any] = []

    def reward(m: Any, batch: Any) -> float:
        seen.append({name: tensor.clone() for name, tensor in m.state_dict().items()})
        return float(m.active["width 0"] == 4)

    nothing: Any = lambda tensors, found, hyper: [tensor.add_(1.0) for tensor in tensors] if len(seen) % 2 == 0 else None  # noqa: E731
    search = AutoHas(net, Space({"lr": Ordered((0.1, 0.2))}), mse, reward, nothing, rate=0.2, memory=0.8)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    chosen = search._draw()
    search._rewarded(chosen, (x, x[:, :1]), (x, x[:, :1]))
    units = search._split(chosen)[0]["width 0"]
    moved = (seen[0]["0.weight"] != before["0.weight"]).any(1)
    assert moved.tolist() == [i < units for i in range(8)]
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    search.update = lambda tensors, found, hyper: None
    for _ in range(50):
        search.step((x, x[:, :1]), (x, x[:, :1]))
    assert search.values()[0] == {"width 0": 4}


def test_darts_trains_an_elastic_model() -> None:
    net, x = net_of(), torch.randn(64, 4)
    y = x.sum(1, keepdim=True)
    mixed = relaxed(net)
    search = Darts(mixed, SubnetOptimizer(net, SGD(net.parameters(), 0.05, 0.9)), Adam(mixed.alphas.values(), 0.05), mse)
    losses = [search.step((x[:32], y[:32]), (x[32:], y[32:])) for _ in range(60)]
    assert losses[-1] < 0.3 * losses[0]
    assert all(alpha.abs().sum() > 0 for alpha in mixed.alphas.values())
    net.export(mixed.values())


def test_what_does_not_fit_is_said() -> None:
    place, (x, y) = planted()
    mixed = relaxed(outer(place))
    sgd, adam = SGD(mixed.weights.values(), 0.1), Adam(mixed.alphas.values(), 0.1)
    with pytest.raises(BadParameter, match="order of DARTS is 1 or 2, found 3"):
        Darts(mixed, sgd, adam, mse, 3)
    with pytest.raises(BadParameter, match=r"'0' is relaxed by Softmax; .*GroupedDropout"):
        DropNas(mixed, sgd, adam, mse)
    with pytest.raises(BadParameter, match=r"single paths, but '0' is relaxed by Softmax"):
        Rome(mixed, sgd, adam, mse)
    with pytest.raises(BadParameter, match=r"needs gates, but '0'"):
        GoldNas(mixed, sgd, adam, mse, {"0": [1, 1, 1, 1]})
    with pytest.raises(BadParameter, match="factors of RARTS"):
        Rarts(mixed, sgd, lambda tensors: SGD(tensors, 0.1), adam, mse, pull=0)
    gates = relaxed(outer(planted()[0]), Gates())
    with pytest.raises(BadParameter, match=r"'0' has 4 options .* found \[1\]"):
        GoldNas(gates, sgd, adam, mse, {"0": [1]})
    with pytest.raises(BadParameter, match="only params are counted"):
        costs_of(gates, "flops")
    with pytest.raises(NonFinite, match="nothing was changed"):
        Darts(mixed, sgd, adam, mse).step((x * float("nan"), y), (x, y))
    with pytest.raises(BadParameter, match="is a field of the model and a hyperparameter"):
        AutoHas(net_of(), Space({"width 0": Ordered((1, 2))}), mse, lambda m, b: 0.0)
    with pytest.raises(BadParameter, match="reward is nan"):
        AutoHas(net_of(), Space({"lr": Ordered((0.1, 0.2))}), mse, lambda m, b: float("nan")).step((x, x[:, :1]), (x, x[:, :1]))


MAKERS = {
    "darts": (Dirichlet(), lambda m, w, a: Darts(m, w, a, mse, 2)),
    "rarts": (Gumbel(), lambda m, w, a: Rarts(m, w, lambda tensors: SGD(tensors, 0.05, 0.9), a, mse)),
    "drop_nas": (GroupedDropout(0.3), lambda m, w, a: DropNas(m, w, a, mse, warmup=2)),
    "gold_nas": (Gates(), lambda m, w, a: GoldNas(m, w, a, mse, costs_of(m), growth=5.0, threshold=0.45)),
    "rome": (Gumbel(), lambda m, w, a: Rome(m, w, a, mse, 2)),
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_search_goes_on_exactly(name: str) -> None:
    coefficients, make = MAKERS[name]

    def begun() -> tuple[Any, ...]:
        torch.manual_seed(0)
        mixed = relaxed(outer(planted(train=True)[0]), coefficients, seed=5)
        w, a = SGD(mixed.weights.values(), 0.02, 0.9), Adam(mixed.alphas.values(), 0.1)
        return mixed, make(mixed, w, a), w, a

    def run(parts: tuple[Any, ...], steps: int) -> None:
        for _ in range(steps):
            parts[1].step(batch, *(() if name in ("drop_nas", "gold_nas") else (batch,)))
            parts[1].prune() if name == "gold_nas" else None

    batch = planted()[1]
    straight, first, second = begun(), begun(), begun()
    run(straight, 6)
    run(first, 3)
    for old, new in zip(first, second, strict=True):
        if hasattr(old, "state_dict"):
            new.load_state_dict(copy.deepcopy(old.state_dict()))
    run(second, 3)
    wanted = straight[0].state_dict()
    assert all(torch.equal(tensor, wanted[key]) for key, tensor in second[0].state_dict().items())
    assert getattr(second[1], "series", None) == getattr(straight[1], "series", None)


def test_autohas_goes_on_exactly() -> None:
    x = torch.randn(16, 4)
    batch = (x, x[:, :1])

    def begun() -> AutoHas:
        return AutoHas(net_of(), Space({"lr": Ordered((0.01, 0.1))}), mse, lambda m, b: -mse(m(b[0]), b[1]).item(), seed=3)

    straight, first, second = begun(), begun(), begun()
    for search, steps in ((straight, 6), (first, 3)):
        for _ in range(steps):
            search.step(batch, batch)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    second.net.load_state_dict(first.net.state_dict())
    for _ in range(3):
        second.step(batch, batch)
    assert second.chances() == straight.chances()
    assert all(torch.equal(tensor, straight.net.state_dict()[name]) for name, tensor in second.net.state_dict().items())


def test_a_state_of_another_search_is_refused() -> None:
    one, other = relaxed(planted()[0]), relaxed(outer(planted()[0]))
    with pytest.raises(NamesDiffer, match=r"alphas .*model.* in one of them only"):
        other.load_state_dict(one.state_dict())
    smaller = relaxed(Choice({"skip": nn.Identity(), "halved": Half()}))
    with pytest.raises(ShapesDiffer, match=r"alphas model has shape \(2,\) in the state, \(4,\)"):
        one.load_state_dict(smaller.state_dict())
