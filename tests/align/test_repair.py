"""After a repair the statistics are the wanted ones; a parent is left alone; what collapsed is restored."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from loomweight.align import loaded, renew_batch_norm, repair
from loomweight.align.moments import channel_axis
from loomweight.errors import BadParameter, LoomweightError
from loomweight.weights import Weights, from_module
from loomweight.weights.axes import axes

from .digits import Cnn, Mlp, accuracy, digits, seeded, trained


def half(a: Weights, b: Weights) -> Weights:
    """The middle, integers as in the first."""
    return Weights.of({name: tensor if not tensor.is_floating_point() else (tensor + b[name]) / 2 for name, tensor in a.items()})


def statistics(model: nn.Module, weights: Weights, images: Tensor, names: list[str]) -> dict[str, tuple[Tensor, Tensor]]:
    found: dict[str, tuple[Tensor, Tensor]] = {}
    twin = loaded(model, weights)

    def hook(name: str) -> object:
        def run(module: nn.Module, given: object, output: Tensor) -> None:
            rows = output.double().movedim(channel_axis(module), -1).flatten(0, -2)
            found[name] = rows.mean(0), rows.std(0, correction=0)

        return run

    for name in names:
        twin.get_submodule(name).register_forward_hook(hook(name))  # type: ignore[arg-type]
    with torch.no_grad():
        twin(images)
    return found


def scenes() -> Iterator[tuple[nn.Module, list[str]]]:
    yield seeded(0, Mlp, 20, 16, 12), ["body.1", "body.3", "body.5"]
    yield seeded(0, Cnn, 6, 8), ["norm1", "norm2", "skip"]
    transposed = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 6, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(384, 10))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for parameter in transposed.parameters():
            nn.init.normal_(parameter, std=0.3)
    yield transposed, ["0", "2"]


@pytest.mark.parametrize("scene", range(3), ids=["mlp", "cnn", "transposed"])
@pytest.mark.parametrize("shares", [None, (0.8, 0.2)])
def test_the_statistics_are_the_wanted_ones(scene: int, shares: tuple[float, float] | None) -> None:
    model, names = list(scenes())[scene]
    images = digits()[0][:300]
    a = from_module(model)
    b = Weights.of({name: tensor.flip(0) * 1.3 if tensor.is_floating_point() and "running" not in name else tensor for name, tensor in a.items()})
    first, second = shares or (0.5, 0.5)
    merged = Weights.of({name: first * tensor + second * b[name] if tensor.is_floating_point() else tensor for name, tensor in a.items()})
    fixed = repair(axes(model, images[:2]), loaded(model, merged), [a, b], images.split(77), shares=shares)
    left, right, got = (statistics(model, weights, images, names) for weights in (a, b, fixed))
    for name in names:
        for part in (0, 1):
            wanted = first * left[name][part] + second * right[name][part]
            torch.testing.assert_close(got[name][part], wanted, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(statistics(model, merged, images, names)[names[0]][1], got[names[0]][1], rtol=1e-2)


@pytest.mark.parametrize("scene", range(3), ids=["mlp", "cnn", "transposed"])
def test_one_pass_over_one_batch_is_exact(scene: int) -> None:
    model, _ = list(scenes())[scene]
    images = digits()[0][:200]
    a = from_module(model)
    b = Weights.of({name: tensor.flip(0) * 1.3 if tensor.is_floating_point() and "running" not in name else tensor for name, tensor in a.items()})
    table, merged = axes(model, images[:2]), loaded(model, half(a, b))
    whole, cut = (repair(table, merged, [a, b], batches) for batches in ([images], images.split(77)))
    for name in whole.names:
        torch.testing.assert_close(whole[name], cut[name], rtol=1e-4, atol=1e-5)


def test_a_parent_is_left_as_it_is() -> None:
    images, labels, _, _ = digits()
    model = trained(seeded(1, Cnn, 6, 8), images[:300], labels[:300], epochs=2)
    parent = renew_batch_norm(model, images[:300].split(100), layer_by_layer=True)
    again = repair(axes(model, images[:2]), loaded(model, parent), [parent, parent], images[:300].split(100))
    for name in parent.names:
        torch.testing.assert_close(again[name], parent[name], rtol=1e-5, atol=1e-5)


def test_collapsed_units_spread_again() -> None:
    """Two units that are one another's noise: their mean moves half as much as they do, and is scaled back."""
    noise = torch.randn(4000, 2, generator=torch.Generator().manual_seed(0))
    noise = noise @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(noise.T)).T)
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    a = Weights.of({**model.state_dict(), "0.weight": torch.tensor([[1.0, 0.0], [0.0, 1.0]]), "0.bias": torch.zeros(2)})
    b = Weights.of({**dict(a), "0.weight": torch.tensor([[0.0, 1.0], [1.0, 0.0]])})
    fixed = repair(axes(model, noise[:2]), loaded(model, half(a, b)), [a, b], [noise])
    torch.testing.assert_close(half(a, b)["0.weight"], torch.full((2, 2), 0.5))
    torch.testing.assert_close(fixed["0.weight"], torch.full((2, 2), 0.5**0.5), rtol=1e-4, atol=1e-4)


def test_dead_units_and_layers_without_bias() -> None:
    model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 2))
    a = Weights.of({**model.state_dict(), "0.weight": torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])})
    b = Weights.of({**dict(a), "0.weight": torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 0.0]])})
    fixed = repair(axes(model, torch.ones(1, 2)), loaded(model, half(a, b)), [a, b], [torch.eye(2)])
    torch.testing.assert_close(fixed["0.weight"], half(a, b)["0.weight"])  # the mean's spread is the mean spread already


def test_the_average_of_digit_networks_trained_apart_collapses_and_is_restored() -> None:
    """The paper's claim on real networks: even without a permutation much of what is lost comes back with the spread of the units."""
    images, labels, tests, answers = digits()
    models = [trained(seeded(seed, Mlp, 64, 64, 64), images, labels, seed=seed, epochs=15) for seed in (1, 2)]
    ends, model = [from_module(model) for model in models], models[0]
    table = axes(model, images[:2])
    merged = loaded(model, half(*ends))
    fixed = loaded(model, repair(table, merged, ends, images.split(400)))
    quick = loaded(model, repair(table, merged, ends, images.split(400), layer_by_layer=False))
    plain, exact, rough = (accuracy(model, tests, answers) for model in (merged, fixed, quick))
    spreads = [statistics(model, weights, images, ["body.5"])["body.5"][1].mean() for weights in (ends[0], from_module(merged), from_module(fixed))]
    assert spreads[1] < 0.5 * spreads[0] < 0.6 * spreads[2]
    assert exact > plain + 0.25
    assert abs(exact - rough) < 0.03


def test_bad_input() -> None:
    model, images = seeded(0, Mlp, 4), digits()[0][:10]
    table, weights = axes(model, images), from_module(model)
    with pytest.raises(BadParameter, match="a share for each, together 1"):
        repair(table, model, [weights, weights], [images], shares=[1.0, 1.0])
    with pytest.raises(BadParameter, match="found 0 parents"):
        repair(table, model, [], [images])
    with pytest.raises(BadParameter, match="nothing to repair"):
        repair(table.without(*table.spaces), model, [weights], [images])
    with pytest.raises(LoomweightError, match="shapes"):
        repair(table, model, [from_module(seeded(0, Mlp, 5))], [images])


def test_layers_inside_a_transformer_are_repaired() -> None:
    """Hidden units of the feed-forward part and the stream; what attention makes inside its module is left alone."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 8), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 3)).eval()
        rows = torch.randn(50, 3, 8)
    weights = from_module(model)
    weak = Weights.of({name: tensor * 0.3 if name == "1.linear1.weight" else tensor for name, tensor in weights.items()})
    fixed = repair(axes(model, rows[:1]), loaded(model, weak), [weights, weights], rows.split(20))
    for name, tensor in weights.items():
        torch.testing.assert_close(fixed[name], tensor, rtol=1e-4, atol=1e-4)


def test_a_shared_weight_is_left_alone() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
        model[4].weight = model[2].weight  # type: ignore[assignment, union-attr]
        rows = torch.randn(50, 4)
    weights = from_module(model)
    weak = weights * 0.5
    fixed = repair(axes(model, rows[:1]), loaded(model, weak), [weights, weights], [rows])
    assert torch.equal(fixed["2.weight"], weak["2.weight"])
    torch.testing.assert_close(fixed["0.weight"], weights["0.weight"], rtol=1e-4, atol=1e-5)


def test_rounding_is_not_blown_up() -> None:
    """A channel that is constant but for float32 rounding keeps its weights, whatever spread its parents have."""
    model = nn.Sequential(nn.Linear(300, 2), nn.ReLU(), nn.Linear(2, 1))
    rows = torch.randn(200, 300, generator=torch.Generator().manual_seed(0))
    rows[:, 0] = 1 - rows[:, 1:].sum(1)  # every row adds up to 1
    still = Weights.of({**model.state_dict(), "0.weight": torch.full((2, 300), 7.0), "0.bias": torch.zeros(2)})
    lively = Weights.of({**dict(still), "0.weight": torch.randn(2, 300, generator=torch.Generator().manual_seed(1))})
    fixed = repair(axes(model, rows[:1]), loaded(model, still), [lively], [rows])
    assert torch.equal(fixed["0.weight"], still["0.weight"])
