"""Path-norms against the enumeration of all paths, and under the symmetries of networks."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from loomweight.edits import Permute, Rescale
from loomweight.errors import BadParameter
from loomweight.evaluate import path_norm
from loomweight.weights import Weights
from loomweight.weights.axes import axes, random_orders

from ..edits.relu_nets import SCALING, Body, drawn

# A stage of a network as a dense matrix (out, in) and a vector of biases, found by applying it to unit vectors.
Stage = tuple[Tensor, Tensor]


def dense(layer: nn.Module, shape: tuple[int, ...]) -> Stage:
    """What a linear layer is as a matrix. For max-pooling: 1 where an entry lies in the window, which unit vectors show too."""
    units = torch.eye(int(torch.tensor(shape).prod()), dtype=torch.float64).reshape(-1, *shape)
    with torch.no_grad():
        zero = layer(torch.zeros(1, *shape, dtype=torch.float64)).reshape(-1)
        return (layer(units).reshape(len(units), -1) - zero).T, zero


def products(stages: list[Stage]) -> Iterator[float]:
    """The product of the weights along every path, one after another: each begins at an input or at a bias."""
    for number, (matrix, bias) in enumerate(stages):
        rest = [matrix for matrix, _ in stages[number + 1 :]]
        for unit, value in enumerate(bias.tolist()):
            yield from onward(value, unit, rest)
    matrices = [matrix for matrix, _ in stages]
    for unit in range(matrices[0].shape[1]):
        yield from onward(1.0, unit, matrices)


def onward(value: float, unit: int, matrices: list[Tensor]) -> Iterator[float]:
    if value == 0 or not matrices:
        yield value
        return
    for target, weight in enumerate(matrices[0][:, unit].tolist()):
        yield from onward(value * weight, target, matrices[1:])


def enumerated(stages: list[Stage], q: float) -> float:
    return sum(abs(product) ** q for product in products(stages)) ** (1 / q)


def staged(model: nn.Sequential, shape: tuple[int, ...]) -> list[Stage]:
    found = []
    for layer in model:
        if not isinstance(layer, nn.ReLU):
            found.append(dense(layer, shape))
        shape = tuple(layer(torch.zeros(1, *shape, dtype=torch.float64)).shape[1:])
    return found


CHAINS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), (3,)),
    "max pool": (lambda: nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.MaxPool2d(2, 1), nn.Flatten(), nn.Linear(8, 2)), (1, 4, 4)),
    "padded max pool": (lambda: nn.Sequential(nn.Conv2d(1, 2, 2), nn.MaxPool2d(3, 2, padding=1), nn.Flatten(), nn.Linear(8, 1)), (1, 4, 4)),
    "dilated max pool": (lambda: nn.Sequential(nn.Conv1d(1, 2, 2), nn.MaxPool1d(2, 1, dilation=2), nn.Flatten(), nn.Linear(6, 1)), (1, 6)),
    "ceil max pool": (lambda: nn.Sequential(nn.Conv1d(1, 2, 2), nn.MaxPool1d(2, 2, ceil_mode=True), nn.Flatten(), nn.Linear(6, 1)), (1, 6)),
    "average pool": (lambda: nn.Sequential(nn.Conv2d(2, 2, 2), nn.ReLU(), nn.AvgPool2d(2, 1), nn.Flatten(), nn.Linear(8, 1)), (2, 4, 4)),
    "average pool at borders": (lambda: nn.Sequential(nn.AvgPool1d(3, 2, padding=1, count_include_pad=False), nn.Conv1d(1, 2, 2)), (1, 6)),
    "average pool with padding": (lambda: nn.Sequential(nn.AvgPool1d(3, 2, padding=1, ceil_mode=True), nn.Conv1d(1, 2, 2)), (1, 6)),
    "uneven adaptive pool": (lambda: nn.Sequential(nn.Conv1d(1, 2, 2), nn.AdaptiveAvgPool1d(3), nn.Flatten(), nn.Linear(6, 1)), (1, 6)),
    "adaptive max pool": (lambda: nn.Sequential(nn.Conv2d(1, 2, 2), nn.AdaptiveMaxPool2d((2, 1)), nn.Flatten(), nn.Linear(4, 1)), (1, 4, 4)),
    "groups and strides": (lambda: nn.Sequential(nn.Conv1d(4, 4, 2, stride=2, groups=2), nn.ReLU(), nn.ConvTranspose1d(4, 2, 2)), (4, 4)),
    "two averages": (lambda: nn.Sequential(nn.AvgPool1d(2), nn.Conv1d(1, 2, 1), nn.AvgPool1d(2)), (1, 8)),
    "batch norm": (lambda: nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), (3,)),
}


@pytest.mark.parametrize("q", [1, 2, 3.5])
@pytest.mark.parametrize("name", CHAINS)
def test_it_is_the_norm_of_all_paths(name: str, q: float) -> None:
    make, shape = CHAINS[name]
    model = drawn(make())
    assert path_norm(model, torch.zeros(1, *shape).double(), q=q) == pytest.approx(enumerated(staged(model, shape), q), rel=1e-9)


@settings(max_examples=15)
@given(seed=st.integers(0, 999), widths=st.lists(st.integers(1, 4), min_size=1, max_size=3), q=st.sampled_from([1, 2]))
def test_any_mlp(seed: int, widths: list[int], q: float) -> None:
    sizes = [2, *widths, 2]
    layers = [module for i, width in enumerate(sizes[1:]) for module in (nn.Linear(sizes[i], width), nn.ReLU())][:-1]
    model = drawn(nn.Sequential(*layers), seed)
    assert path_norm(model, torch.zeros(1, 2).double(), q=q) == pytest.approx(enumerated(staged(model, (2,)), q), rel=1e-9)


def test_a_skip_connection_is_another_path() -> None:
    """x + A relu(B x): the paths of the chain, and one of weight 1 for each entry."""
    model = drawn(Body(lambda m, x: x + m.a(m.b(x).relu()), a=nn.Linear(4, 3), b=nn.Linear(3, 4)))
    chain = [dense(model.b, (3,)), dense(model.a, (4,))]
    for q in (1, 2):
        want = (enumerated(chain, q) ** q + 3) ** (1 / q)
        assert path_norm(model, torch.zeros(1, 3).double(), q=q) == pytest.approx(want)


def test_order_statistics_are_sums_over_what_they_choose_from() -> None:
    """GroupSort in pairs, maxout of two, the largest of all: by hand for ones."""
    x = torch.zeros(1, 4).double()
    sort = Body(lambda m, x: m.d(x.reshape(1, 2, 2).sort(-1).values.flatten(1)), d=nn.Linear(4, 1, bias=False)).double()
    largest = Body(lambda m, x: m.d(x.amax(-1, keepdim=True)), d=nn.Linear(1, 1, bias=False)).double()
    maxout = Body(lambda m, x: m.d(torch.maximum(x[:, :2], x[:, 2:])), d=nn.Linear(2, 1, bias=False)).double()
    for model, paths in ((sort, 8), (largest, 4), (maxout, 4)):
        model.d.weight.data.fill_(-3.0)
        assert path_norm(model, x) == pytest.approx(3 * paths)
        assert path_norm(model, x, q=2) == pytest.approx((9 * paths) ** 0.5)


def test_a_batch_norm_is_folded_into_the_layer_before() -> None:
    with_norm = drawn(nn.Sequential(nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(27, 2)))
    conv, norm = with_norm[0], with_norm[1]
    gain = norm.weight / (norm.running_var + norm.eps).sqrt()
    folded = drawn(nn.Sequential(nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(27, 2)))
    folded.load_state_dict(
        {
            "0.weight": conv.weight * gain.reshape(-1, 1, 1, 1),
            "0.bias": (conv.bias - norm.running_mean) * gain + norm.bias,
            "3.weight": with_norm[4].weight,
            "3.bias": with_norm[4].bias,
        }
    )
    x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(folded(x), with_norm(x))
    for q in (1, 2):
        assert path_norm(with_norm, x[:1], q=q) == pytest.approx(path_norm(folded, x[:1], q=q))


@pytest.mark.parametrize("name", [name for name in SCALING if name not in ("joined", "flattened")])
def test_symmetries_of_the_network_leave_it(name: str) -> None:
    make, shape, _ = SCALING[name]
    model = drawn(make())
    x = torch.zeros(shape, dtype=torch.float64)
    table, weights = axes(model, x), Weights.of(model.state_dict())
    factors = {key: torch.logspace(-1, 1, space.size, dtype=torch.float64) for key, space in table.spaces.items() if space.scales}
    for q in (1, 2):
        plain = path_norm(model, x, q=q)
        assert path_norm(model, x, q=q, weights=Rescale.by(table, factors)(weights)) == pytest.approx(plain)
        assert path_norm(model, x, q=q, weights=Permute.by(table, random_orders(table))(weights)) == pytest.approx(plain)
        assert path_norm(model, x[:1], q=q) == pytest.approx(plain)
    assert path_norm(model, x, weights=Weights.of({key: -tensor for key, tensor in weights.items()})) == pytest.approx(path_norm(model, x))


def test_it_bounds_how_far_the_outputs_move() -> None:
    """The paper's Lipschitz bound: |f(x) - f(y)|_1 <= path-norm |x - y|_inf."""
    for name in ("mlp", "residual", "transposed"):
        make, shape, _ = SCALING[name]
        model = drawn(make())
        x, y = (torch.randn(1, *shape[1:], generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in (0, 1))
        assert float((model(x) - model(y)).detach().abs().sum()) <= path_norm(model, x) * float((x - y).abs().max())


OUTSIDE = {
    "softmax": (nn.Softmax(-1), "softmax in '1'"),
    "sigmoid": (nn.Sigmoid(), "sigmoid in '1'"),
    "layer norm": (nn.LayerNorm(4), "layer_norm in '1'"),
    "gelu": (nn.GELU(), "gelu in '1'"),
    "relu6": (nn.ReLU6(), "(hardtanh|relu6) in '1'"),
    "leaky": (nn.LeakyReLU(), "leaky_relu in '1'"),
    "a gate": (Body(lambda m, x: x * x), "mul in '1'"),
    "inner products": (Body(lambda m, x: x @ x.T), "matmul in '1'"),
    "a number over it": (Body(lambda m, x: 1 / (x + 2)), "reciprocal in '1'"),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_is_no_relu_network_is_refused_by_name(name: str) -> None:
    layer, words = OUTSIDE[name]
    with pytest.raises(BadParameter, match=f"^{words} is not an operation of a ReLU network"):
        path_norm(nn.Sequential(nn.Linear(3, 4), layer, nn.ReLU()), torch.zeros(1, 3))


def test_bad_calls() -> None:
    with pytest.raises(BadParameter, match=r"q must be a number of 1 or more, found 0\.5"):
        path_norm(nn.Linear(2, 1), torch.zeros(1, 2), q=0.5)
    with pytest.raises(BadParameter, match="does not run on the example inputs"):
        path_norm(nn.Linear(2, 1), torch.zeros(1, 3))
    with pytest.raises(BadParameter, match="embedding in '0' is not"):
        path_norm(nn.Sequential(nn.Embedding(3, 2), nn.Linear(2, 1)), torch.zeros(1, 2, dtype=torch.long))


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), functional_relu())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()
    path_norm(model, torch.zeros(1, 3))
    assert model.training and all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def functional_relu() -> nn.Module:
    return Body(lambda m, x: functional.relu(x, inplace=True))
