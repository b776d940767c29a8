"""Zero-cost proxies by second formulas, under symmetries of networks, and that they leave a network alone."""

import copy
from collections.abc import Callable
from itertools import combinations, pairwise
from math import exp, isnan, log
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from loomweight.errors import BadParameter, NonFinite, UnknownName
from loomweight.evaluate import epsinas, grad_sign, gradient_norm, naswot, path_norm, proxy_scores, snip, synflow
from loomweight.evaluate.proxies.scores import NAMES

Proxy = Callable[[nn.Module, Tensor, Tensor], float]
PROXIES: dict[str, Proxy] = {
    "gradient_norm": gradient_norm,
    "snip": snip,
    "grad_sign": grad_sign,
    "synflow": lambda model, inputs, _: synflow(model, inputs),
    "naswot": lambda model, inputs, _: naswot(model, inputs),
    "epsinas": lambda model, inputs, _: epsinas(model, inputs, (0.01, 1.0)),
}
every_proxy = pytest.mark.parametrize("proxy", PROXIES.values(), ids=PROXIES)


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


def mlp(*widths: int, bias: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after, bias=bias), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def convolutional() -> nn.Sequential:
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(6, 4))
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), *head)


def vectors(examples: int = 6, width: int = 5, classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(examples, width, generator=generator), torch.randint(classes, (examples,), generator=generator)


def images(examples: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(examples, 3, 8, 8, generator=generator), torch.randint(4, (examples,), generator=generator)


def rescaled(model: nn.Sequential, factor: float) -> nn.Sequential:
    """The same function: the first layer times a factor, the next one divided by it."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[0].weight.mul_(factor)
        other[0].bias.mul_(factor)
        other[2].weight.div_(factor)
    return other


def test_the_gradient_by_differences() -> None:
    model, (inputs, targets) = seeded(lambda: mlp(5, 3, 4)).double(), vectors()
    inputs = inputs.double()
    expected, loss = 0.0, lambda: functional.cross_entropy(model(inputs), targets).item()
    with torch.no_grad():
        for matrix in (model[0].weight, model[2].weight):
            slopes = []
            for place in range(matrix.numel()):
                flat = matrix.view(-1)
                flat[place] += 1e-5
                above = loss()
                flat[place] -= 2e-5
                slopes.append((above - loss()) / 2e-5)
                flat[place] += 1e-5
            expected += float(torch.tensor(slopes).norm())
    assert gradient_norm(model, inputs, targets) == pytest.approx(expected, rel=1e-6)  # float32 sums in another order


def test_snip_is_what_removing_single_weights_costs_to_first_order() -> None:
    """d loss / d c at c = 1, for every weight times c of its own."""
    model, (inputs, targets) = seeded(lambda: mlp(5, 3, 4)), vectors()
    masks = [torch.ones_like(layer.weight, requires_grad=True) for layer in (model[0], model[2])]
    hidden = functional.linear(inputs, model[0].weight * masks[0], model[0].bias).relu()
    loss = functional.cross_entropy(functional.linear(hidden, model[2].weight * masks[1], model[2].bias), targets)
    expected = sum(float(gradient.abs().sum()) for gradient in torch.autograd.grad(loss, masks))
    assert snip(model, inputs, targets) == pytest.approx(expected, rel=1e-5)  # float32 sums in another order


def test_snip_does_not_change_when_layers_are_rescaled_and_the_gradient_norm_does() -> None:
    model, (inputs, targets) = seeded(lambda: mlp(5, 7, 4)), vectors()
    assert snip(rescaled(model, 4.0), inputs, targets) == pytest.approx(snip(model, inputs, targets), rel=1e-5)  # float32 sums in another order
    # the twin: the norm does change
    assert gradient_norm(rescaled(model, 4.0), inputs, targets) != pytest.approx(gradient_norm(model, inputs, targets), rel=0.1)


def test_grad_sign_by_gradients_of_all_examples_at_once() -> None:
    model, (inputs, targets) = seeded(lambda: mlp(5, 8, 4)), vectors()

    def loss(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(torch.func.functional_call(model, weights, x[None]), y[None])

    weights = dict(model.named_parameters())
    each = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))({k: v.detach() for k, v in weights.items()}, inputs, targets)
    expected = sum(float(each[name].sign().sum(0).abs().sum()) for name in ("0.weight", "2.weight"))
    assert grad_sign(model, inputs, targets) == expected


def test_grad_sign_is_largest_where_all_examples_agree() -> None:
    model, (inputs, targets) = seeded(lambda: mlp(5, 8, 4)), vectors()
    same = inputs[:1].expand(6, -1), targets[:1].expand(6)
    nonzero = grad_sign(model, inputs[:1], targets[:1])
    assert grad_sign(model, *same) == 6 * nonzero
    assert grad_sign(model, inputs, targets) < 6 * nonzero * 1.5
    order = torch.tensor([3, 1, 0, 5, 4, 2])
    assert grad_sign(model, inputs[order], targets[order]) == grad_sign(model, inputs, targets)


@pytest.mark.parametrize("widths", [(5, 4), (5, 7, 4), (5, 7, 6, 4)])
def test_the_flow_of_every_layer_is_the_sum_over_paths(widths: tuple[int, ...]) -> None:
    """Without biases R is linear in each layer, so w dR/dw sums to R for each of them; and R is the path-norm."""
    model = seeded(lambda: mlp(*widths, bias=False))
    layers = len(widths) - 1
    assert exp(synflow(model, torch.zeros(2, 5))) == pytest.approx(layers * path_norm(model, torch.zeros(1, 5)), rel=1e-6)  # float32 sums in another order


def test_norms_do_not_stop_the_flow() -> None:
    plain = seeded(lambda: mlp(5, 7, 4, bias=False))
    normed = nn.Sequential(plain[0], nn.BatchNorm1d(7), nn.LayerNorm(7), plain[1], plain[2])
    assert synflow(normed, torch.zeros(2, 5)) == pytest.approx(synflow(plain, torch.zeros(2, 5)))
    assert "forward" not in normed[1].__dict__


def test_the_flow_of_a_deep_network_is_not_too_much() -> None:
    model = nn.Sequential(*(nn.Linear(64, 64, bias=False) for _ in range(60)))
    with torch.no_grad():
        for layer in model:
            layer.weight.fill_(2.0)
    assert synflow(model, torch.zeros(1, 64)) == pytest.approx(log(60) + log(64) + 60 * log(128), rel=1e-9)  # float64 rounding


def test_nothing_flows_through_zeros() -> None:
    model = mlp(5, 4, bias=False)
    nn.init.zeros_(model[0].weight)
    assert synflow(model, torch.zeros(1, 5)) == float("-inf")


def hamming(signs: Tensor) -> float:
    """log det of units minus distance, pair by pair."""
    examples, units = signs.shape
    kernel = torch.full((examples, examples), float(units), dtype=torch.float64)
    for i, j in combinations(range(examples), 2):
        kernel[i, j] = kernel[j, i] = units - int((signs[i] != signs[j]).sum())
    return float(kernel.logdet())


def test_naswot_by_counting_switches() -> None:
    model, (inputs, _) = seeded(lambda: mlp(5, 16, 16, 4)), vectors()
    first = model[0](inputs)
    second = model[2](first.relu())
    assert naswot(model, inputs) == pytest.approx(hamming(torch.cat([first > 0, second > 0], 1)), rel=1e-9)  # float64 rounding
    assert naswot(rescaled(model, 3.0), inputs) == naswot(model, inputs)


class Functional(nn.Module):
    """The same network with ReLU in other words."""

    def __init__(self, model: nn.Sequential, relu: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.relu = model, relu

    def forward(self, x: Tensor) -> Tensor:
        return self.model[4](self.relu(self.model[2](self.relu(self.model[0](x)))))


WORDS = [
    torch.relu,
    functional.relu,
    functional.relu_,
    functional.relu6,
    lambda x: x.clamp(min=0),
    lambda x: x.clamp_min(0),
    lambda x: functional.threshold(x, 0, 0),
]


@pytest.mark.parametrize("relu", WORDS)
def test_every_way_to_write_relu_is_seen(relu: Callable[[Tensor], Tensor]) -> None:
    model, (inputs, _) = seeded(lambda: mlp(5, 16, 16, 4)), vectors()
    assert naswot(Functional(model, relu), inputs) == pytest.approx(naswot(model, inputs), rel=1e-9)  # float64 rounding


def test_leaky_ones_are_seen_and_curved_ones_are_not() -> None:
    model, (inputs, _) = seeded(lambda: mlp(5, 16, 16, 4)), vectors()
    first = model[0](inputs)
    second = model[2](functional.leaky_relu(first))
    # float64 rounding
    assert naswot(Functional(model, functional.leaky_relu), inputs) == pytest.approx(hamming(torch.cat([first > 0, second > 0], 1)), rel=1e-9)
    with pytest.raises(BadParameter, match="no ReLU ran in Functional"):
        naswot(Functional(model, lambda x: x.clamp(min=-1)), inputs)


def test_examples_that_are_alike_cannot_be_told_apart() -> None:
    model, (inputs, _) = seeded(lambda: mlp(5, 16, 4)), vectors()
    assert naswot(model, inputs[[0, 1, 1]]) < -20  # singular: minus infinity, or what rounding leaves of it


def curved() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)).double()


def test_epsinas_does_not_depend_on_weights_or_order() -> None:
    inputs = images()[0].double()
    (score,) = {epsinas(seeded(curved, seed), inputs, (0.01, 1.0)) for seed in range(3)}
    assert score > 0.01
    assert epsinas(curved(), inputs.flip(0), (0.01, 1.0)) == pytest.approx(score, rel=1e-9)  # float64 rounding


def test_epsinas_by_hand() -> None:
    """The mean of tanh of standardised sums of patches, small and large, each from 0 to 1; four classes answer alike."""
    inputs = images()[0].double()
    sums = functional.conv2d(inputs, torch.ones(1, 3, 3, 3, dtype=torch.float64))
    rows = []
    for weight in (0.01, 1.0):
        spread = (sums * weight).var(unbiased=False) + 1e-5
        outputs = (weight * (sums - sums.mean()) * weight / spread.sqrt()).tanh().mean((1, 2, 3))
        rows.append((outputs - outputs.min()) / (outputs.max() - outputs.min()))
    both = [(float(a), float(b)) for a, b in zip(*rows, strict=True) if a and b]
    every = [float(x) for row in rows for x in row if x]
    expected = sum(abs(a - b) for a, b in both) / len(both) / (sum(every) / len(every))
    assert epsinas(curved(), inputs, (0.01, 1.0)) == pytest.approx(expected, rel=1e-8)  # float64 rounding


def test_epsinas_of_a_network_that_only_scales() -> None:
    """A chain of linear layers answers alike, up to a factor, which scaling to 0 ... 1 takes away."""
    model, (inputs, _) = nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 1)), vectors()
    assert epsinas(model.double(), inputs.double(), (0.1, 1.0)) == pytest.approx(0, abs=1e-9)  # float64 rounding
    curved = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1)).double()
    assert epsinas(curved, inputs.double(), (0.1, 1.0)) > 0.01


def state(model: nn.Module) -> tuple:
    tensors = {name: (value.clone(), value.requires_grad, value.dtype) for name, value in [*model.named_parameters(), *model.named_buffers()]}
    grads = {name: None if value.grad is None else value.grad.clone() for name, value in model.named_parameters()}
    others = {name: ("forward" in module.__dict__, module.training, len(module._forward_hooks)) for name, module in model.named_modules()}
    return tensors, grads, others, torch.get_rng_state()


def same(one: tuple, other: tuple) -> bool:
    values = all(torch.equal(one[0][name][0], other[0][name][0]) and one[0][name][1:] == other[0][name][1:] for name in one[0])
    grads = all((a is None and b is None) or torch.equal(a, b) for a, b in zip(one[1].values(), other[1].values(), strict=True))
    return values and grads and one[2] == other[2] and torch.equal(one[3], other[3])


@every_proxy
def test_a_network_is_left_as_it_was(proxy: Proxy) -> None:
    model = seeded(convolutional)
    model[0].weight.requires_grad_(False)
    model[3].eval()
    functional.cross_entropy(model(images()[0]), images()[1]).backward()
    before = state(model)
    proxy(model, *images())
    assert same(before, state(model))


@every_proxy
def test_a_network_is_left_as_it_was_after_an_error(proxy: Proxy) -> None:
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(7, 4))).eval()
    before = state(model)
    with pytest.raises(BadParameter, match=r"Sequential does not run on the batch: .*mat1 and mat2"):
        proxy(model, *images())
    assert same(before, state(model))


def test_that_a_change_would_be_noticed() -> None:
    model = seeded(convolutional)
    before = state(model)
    model(images()[0])
    assert not same(before, state(model))  # running statistics, and a draw of dropout


@every_proxy
def test_frozen_and_inference_mode_networks_have_scores_too(proxy: Proxy) -> None:
    model = seeded(convolutional)
    expected = proxy(model, *images())
    model.requires_grad_(False).eval()
    with torch.no_grad():
        assert proxy(model, *images()) == pytest.approx(expected, rel=1e-6)  # float32 sums in another order


class Structured(nn.Module):
    """Takes words, gives a structure."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = mlp(5, 8, 4)

    def forward(self, pixels: Tensor, scale: float = 1.0) -> SimpleNamespace:
        return SimpleNamespace(logits=self.inner(pixels * scale), hidden=pixels)


def test_inputs_by_name_and_outputs_in_a_structure() -> None:
    model, (inputs, targets) = seeded(Structured), vectors()
    found = proxy_scores(model, {"pixels": inputs, "scale": 1.0}, targets)
    plain = proxy_scores(model.inner, inputs, targets)
    assert {name: found[name] for name in ("snip", "grad_sign", "naswot")} == {name: plain[name] for name in ("snip", "grad_sign", "naswot")}


def test_a_transformer_layer() -> None:
    layer = seeded(lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True))
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(24, 4)).eval()
    inputs, targets = torch.randn(5, 3, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 0])
    found = proxy_scores(model, inputs, targets)
    assert set(found.undefined) <= {"path_norm", "epsinas"}
    assert all(torch.isfinite(torch.tensor(found[name])) for name in ("gradient_norm", "snip", "grad_sign", "synflow", "naswot"))
    with pytest.raises(BadParameter, match=r"a ReLU works on shape \(3, 5, 16\), whose first axis is not the batch of 5"):
        naswot(SequenceFirst(layer), inputs)


class SequenceFirst(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.transpose(0, 1).contiguous().view(3, 5, 8)).flatten(1)


def test_what_is_undefined_is_said() -> None:
    found = proxy_scores(nn.Sequential(nn.Linear(5, 4), nn.GELU(), nn.Linear(4, 4)), *vectors())
    assert set(found.scores) == set(NAMES)
    assert isnan(found["naswot"])
    assert "no ReLU ran in Sequential" in found.undefined["naswot"]
    assert "path-norm of this model is not defined" in found.undefined["path_norm"]
    with pytest.raises(UnknownName, match="no proxy named 'snap'; nearest: 'snip'"):
        proxy_scores(mlp(5, 4), *vectors(), only=("snap",))


class InPlace(nn.Module):
    """Overwrites what the backward pass needs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x).sigmoid()
        out = self.second(hidden)
        hidden.mul_(2)
        return out


def test_models_that_cannot_be_scored() -> None:
    inputs, targets = vectors()
    for proxy in (gradient_norm, snip, grad_sign):
        with pytest.raises(BadParameter, match=r"InPlace has no gradients of this loss \(an operation in place changed"):
            proxy(InPlace(), inputs, targets)
    with pytest.raises(BadParameter, match=r"synflow: InPlace has no gradients \(an operation in place"):
        synflow(InPlace(), inputs)
    with pytest.raises(BadParameter, match="naswot: no ReLU ran in Linear"):
        naswot(nn.Linear(5, 4), inputs)
    with pytest.raises(BadParameter, match="snip: ReLU has no weight with two or more axes"):
        snip(nn.ReLU(), inputs, targets)
    with pytest.raises(BadParameter, match=r"grad_sign: Sequential does not run on the batch: .*more than 1 value per channel"):
        grad_sign(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4)), inputs, targets)
    with pytest.raises(BadParameter, match=r"gradient_norm: .* gives a str; a tensor, or something with logits"):
        gradient_norm(Words(), inputs, targets)


class Words(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(5, 4))

    def forward(self, _: Tensor) -> str:
        return "cat"


def test_inputs_that_cannot_be_scored() -> None:
    inputs, targets = vectors()
    model = seeded(lambda: mlp(5, 8, 4))
    poisoned = inputs.clone()
    poisoned[2, 1] = float("nan")
    for proxy in (gradient_norm, snip, grad_sign):
        with pytest.raises(NonFinite, match=r"(the loss|the gradient of '0.weight') is not finite, so Sequential has no score"):
            proxy(model, poisoned, targets)
    with pytest.raises(NonFinite, match="naswot: ReLU number 1 is given NaN"):
        naswot(model, poisoned)
    with pytest.raises(NonFinite, match="epsinas: with all weights at 1e-07 the outputs of Sequential are not finite"):
        epsinas(model, poisoned)
    with pytest.raises(NonFinite, match=r"epsinas: with all weights at 1e-07 the outputs of Sequential are all equal; try other numbers, or float64"):
        epsinas(mlp(5, *[8] * 8, 4), inputs)
    with pytest.raises(BadParameter, match=r"two different finite numbers are needed, found 1\.0 and 1\.0"):
        epsinas(model, inputs, (1.0, 1.0))
    with pytest.raises(BadParameter, match=r"synflow: an input of ones is put in, so inputs are floating; found torch\.int64"):
        synflow(model, targets)
    with pytest.raises(BadParameter, match="naswot: a batch of two or more examples is compared, found 1"):
        naswot(model, inputs[:1])
    with pytest.raises(BadParameter, match=r"grad_sign: .* their numbers should agree; found \[3, 6\]"):
        grad_sign(model, inputs, targets[:3])
