import json

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from loomweight.errors import BadParameter, NonFinite
from loomweight.supernet import AlphaDivergence, Elastic, ExponentialThenConstant, Sampler, Sandwich, SinglePath, SoftLabels, SubnetOptimizer, Uniform, elastic

from .training import batch, by_masks, gradients, mlp


class Late(Sampler):
    uses_done = True

    def __init__(self) -> None:
        self.seen: list[float] = []

    def draw(self, net, random, done):
        self.seen.append(done)
        return net.min()


class Greedy(Sampler):
    uses_gradients = True

    def draw(self, net, random, done):
        return net.max()


class Recorded(Sampler):
    """Draws uniformly and remembers what it drew."""

    def __init__(self) -> None:
        self.drawn: list[dict] = []

    def draw(self, net, random, done):
        self.drawn.append(net.sample(random))
        return self.drawn[-1]


def summed(net: Elastic, losses: list) -> dict[str, torch.Tensor]:
    """Gradients of losses, each over its own tensors from `by_masks`, added up."""
    total = {name: torch.zeros_like(tensor) for name, tensor in net.state_dict().items()}
    for loss, weights in losses:
        for name, gradient in zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True):
            total[name] += gradient
    return total


def assert_same(found: dict, wanted: dict) -> None:
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")


def test_several_paths_add_up_their_gradients():
    net, (x, y), sampler = mlp(), batch(), Recorded()
    loss = SinglePath(loss=cross_entropy, sampler=sampler, subnets=3)(net, x, y)
    by_hand = [(cross_entropy(out, y), weights) for out, weights in (by_masks(net, values, x) for values in sampler.drawn)]
    assert_same(gradients(net), summed(net, by_hand))
    assert loss == pytest.approx(sum(float(one.detach()) for one, _ in by_hand) / 3, rel=1e-5)  # float32 sums in another order


@pytest.mark.parametrize("soft", [SoftLabels(), SoftLabels(temperature=3.0), AlphaDivergence()])
def test_a_sandwich_is_the_sum_of_the_largest_on_labels_and_the_others_on_its_answers(soft):
    net, (x, y), sampler = mlp(), batch(), Recorded()
    Sandwich(loss=cross_entropy, sampler=sampler, subnets=2, soft=soft)(net, x, y)
    out, weights = by_masks(net, net.max(), x)
    by_hand = [(cross_entropy(out, y), weights)]
    for values in (*sampler.drawn, net.min()):
        student, weights = by_masks(net, values, x)
        by_hand.append((soft(student, out.detach()), weights))
    assert len(by_hand) == 4
    assert_same(gradients(net), summed(net, by_hand))


def test_a_sandwich_without_soft_labels_trains_all_on_the_targets():
    net, (x, y), sampler = mlp(), batch(), Recorded()
    Sandwich(loss=cross_entropy, sampler=sampler, subnets=1, soft=None)(net, x, y)
    configurations = (net.max(), *sampler.drawn, net.min())
    assert_same(gradients(net), summed(net, [(cross_entropy(out, y), w) for out, w in (by_masks(net, values, x) for values in configurations)]))


@pytest.mark.parametrize(("regularise", "wanted"), [("largest", [True, False, False, False]), ("all", [True] * 4)])
def test_only_the_largest_subnet_is_dropped_out(regularise, wanted):
    log: list = []
    net = mlp(dropout=0.5)
    net.model[2].register_forward_pre_hook(lambda module, inputs: log.append(module.p == 0.5))
    Sandwich(loss=cross_entropy, sampler=Uniform(), regularise=regularise)(net, *batch())
    assert log == wanted
    assert net.model[2].p == 0.5


def test_attention_does_not_drop_out_in_smaller_subnets_either():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.9, batch_first=True)
    net = elastic(layer, "width linear1 : 4 16", torch.zeros(2, 3, 8))
    x = torch.randn(2, 3, 8)
    seen: list = []

    def watch(out, target):
        seen.append(out.detach())
        return out.square().mean()

    Sandwich(loss=watch, sampler=Uniform(), soft=None)(net, x, x)
    net.eval()
    torch.testing.assert_close(seen[-1], net.select(net.min())(x), rtol=1e-4, atol=1e-5)
    assert layer.self_attn.dropout == 0.9
    assert not torch.allclose(seen[0], net.select(net.max())(x))


def test_weight_decay_acts_once_a_step_though_four_subnets_ran():
    net, (x, y) = mlp(), batch()
    optimizer = SubnetOptimizer(net, torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=0.5))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    Sandwich(loss=lambda out, y: out.sum() * 0.0, sampler=Uniform(), soft=None)(net, x, y)
    optimizer.step()
    assert_same(net.state_dict(), {name: tensor * (1 - 0.1 * 0.5) for name, tensor in before.items()})


def test_a_sandwich_learns_and_the_subnet_that_was_chosen_stays_chosen():
    net, (x, _) = mlp(), batch(size=40)
    y = x[:, :3].argmax(1)
    net.select(net.min())
    optimizer = SubnetOptimizer(net, torch.optim.Adam(net.parameters(), lr=0.02))
    step = Sandwich(loss=cross_entropy, sampler=Uniform(), soft=AlphaDivergence())
    before = [float(cross_entropy(net.select(values)(x), y).detach()) for values in (net.max(), net.min())]
    for _ in range(60):
        optimizer.zero_grad()
        step(net, x, y)
        optimizer.step()
    assert net.active == net.min()
    after = [float(cross_entropy(net.select(values)(x), y).detach()) for values in (net.max(), net.min())]
    assert after[0] < 0.7 * before[0]
    assert after[1] < 0.85 * before[1]


def test_a_run_that_stops_goes_on_exactly():
    def trained(stop: int | None) -> dict:
        net, (x, y) = mlp(), batch()
        optimizer = SubnetOptimizer(net, torch.optim.Adam(net.parameters(), lr=0.05))
        step = Sandwich(loss=cross_entropy, sampler=Uniform(), seed=3)
        for number in range(6):
            if number == stop:
                saved = json.loads(json.dumps(step.state_dict()))
                step = Sandwich(loss=cross_entropy, sampler=Uniform(), seed=4)
                step.load_state_dict(saved)
                assert step.count == stop
            optimizer.zero_grad()
            step(net, x, y)
            optimizer.step()
        return net.state_dict()

    whole, halves = trained(None), trained(3)
    assert all(torch.equal(whole[name], halves[name]) for name in whole)


def test_global_random_numbers_are_left_alone():
    net, (x, y) = mlp(), batch()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    Sandwich(loss=cross_entropy, sampler=Uniform())(net, x, y)
    assert torch.equal(before, torch.get_rng_state())


def test_samplers_see_how_much_is_done():
    net, (x, y), sampler = mlp(), batch(), Late()
    step = SinglePath(loss=cross_entropy, sampler=sampler, total=4)
    for _ in range(6):
        step(net, x, y)
    assert sampler.seen == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SinglePath(loss=cross_entropy, sampler=Late()), "SinglePath with Late depends on how much .* give `total`, .* found None"),
        (lambda: SinglePath(loss=cross_entropy, sampler=Uniform(), total=9), "total=9 would have no effect"),
        (lambda: SinglePath(loss=cross_entropy, sampler=Uniform(), subnets=0), "at least one subnet, found subnets=0"),
        (lambda: SinglePath(loss=cross_entropy, sampler=Greedy(), subnets=2), "one subnet at a time, found subnets=2"),
        (lambda: Sandwich(loss=cross_entropy, sampler=Uniform(), subnets=0), "found subnets=0"),
        (lambda: Sandwich(loss=cross_entropy, sampler=Greedy()), "which a sandwich adds up; use SinglePath"),
        (lambda: Sandwich(loss=cross_entropy, sampler=Uniform(), regularise="none"), "'largest' or 'all', found 'none'"),
        (lambda: ExponentialThenConstant(decay=1.0), "between 0 and 1, found 1.0"),
        (lambda: Uniform().load_state_dict({"odds": [1]}), "Uniform learns nothing, but its state holds 'odds'"),
        (lambda: SinglePath(loss=cross_entropy, sampler=Uniform()).load_state_dict({"count": 1}), "lacks random, sampler"),
    ],
)
def test_bad_parts_are_refused_when_they_are_made(make, message):
    with pytest.raises(BadParameter, match=message):
        make()


def test_a_loss_that_is_not_a_number_names_the_subnet_and_adds_nothing():
    net, (x, y) = mlp(), batch()
    with pytest.raises(NonFinite, match=r"the loss of the subnet \{width 0 = 8, width 3 = 6\} is nan; its gradients were not added"):
        Sandwich(loss=lambda out, y: out.sum() * float("nan"), sampler=Uniform())(net, x, y)
    assert not any(gradient.any() for gradient in gradients(net).values())


def test_the_learning_rate_ends_constant():
    net = mlp()
    optimizer = SubnetOptimizer(net, torch.optim.SGD(net.parameters(), lr=2.0))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer.inner, ExponentialThenConstant(decay=0.5, floor=0.2))
    rates = []
    for _ in range(5):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([2.0, 1.0, 0.5, 0.4, 0.4])
