"""Relaxed models: one superposed weight stands for the weighted sum of all slices, and the alphas find what is best."""

from functools import cache, partial
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from loomweight.errors import BadParameter, UnknownName
from loomweight.supernet import Choice, Coefficients, Dirichlet, Elastic, Gumbel, Join, Softmax, SubnetOptimizer, costs_of, elastic, relaxed
from loomweight.supernet.gradient.coefficients import Field


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bn(self.conv(x)).relu()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(3, 8, 5, padding=2), nn.BatchNorm2d(8)
        self.blocks = nn.ModuleList([Block(8) for _ in range(3)])
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.stem(x)).relu()
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))


CONV = "width stem : 2 4 8\nkernel stem : 1 3 5\ndepth blocks : 1 3\nkernel blocks.1.conv : 1 3"
ATTENTION = "width 1.linear1 : 8 32\nheads 1.* : 2 4\nwidth 0 : 8 16"


def conv(table: str = CONV) -> Elastic:
    torch.manual_seed(0)
    return elastic(Net(), table, torch.zeros(1, 3, 8, 8))


def attention(table: str = ATTENTION) -> Elastic:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True)
    return elastic(nn.Sequential(nn.Linear(3, 16), layer, nn.Linear(16, 2)), table, torch.zeros(2, 5, 3))


@torch.no_grad()
def padded(net: Elastic, name: str, coefficients: dict[str, Tensor]) -> Tensor:
    """The sum over all combinations of a tensor's fields of their coefficients' product x the slice, padded with zeros."""
    one = net.stored()[name]
    assert one.layout is not None
    total = torch.zeros_like(one.tensor)
    fields = one.layout.fields
    for options in product(*(tuple(net.space.dimensions[field].every()) for field in fields)):
        values = net.max() | dict(zip(fields, options, strict=True))
        factor = torch.stack([coefficients[f][list(net.space.dimensions[f].every()).index(values[f])] for f in fields]).prod()
        slot = torch.zeros_like(one.tensor)
        for leaf in one.pieces(values):
            leaf.view(slot).copy_(leaf.view(one.tensor))
        total = total + factor * slot
    return total


@cache
def once(make: Any) -> tuple[Elastic, Any]:
    net = make()
    return net, relaxed(net)


@pytest.mark.parametrize("make", [partial(once, conv), partial(once, attention)], ids=["conv", "attention"])
@settings(max_examples=2)
@given(seed=st.integers(0, 1000))
def test_one_weight_is_the_weighted_sum_of_padded_slices(make: Any, seed: int) -> None:
    net, mixed = make()
    random = torch.Generator().manual_seed(seed)
    coefficients = {name: torch.rand(len(field.options), generator=random) for name, field in mixed.fields.items()}
    found = 0
    for name, weight in mixed._found.weights.items():
        if weight.superposed is not None and not name.startswith(("blocks.0", "blocks.2")):
            used = weight.superposed(net.stored()[name].tensor, coefficients, {})
            torch.testing.assert_close(used, padded(net, name, coefficients), atol=1e-6, rtol=1e-5)
            found += 1
    assert found > 5


def test_with_one_coefficient_it_is_the_subnet() -> None:
    torch.manual_seed(1)
    assert max(relaxed(conv()).disagreement(torch.randn(4, 3, 8, 8)).values()) < 1e-5
    assert max(relaxed(attention()).disagreement(torch.randn(2, 5, 3)).values()) < 1e-5


def test_that_a_disagreement_is_noticed() -> None:
    assert relaxed(attention("head_size 1.* : 2 4")).disagreement(torch.randn(2, 5, 3))["head_size 1.self_attn"] > 1e-4


def test_the_elastic_model_is_as_it_was() -> None:
    net = conv()
    x = torch.randn(4, 3, 8, 8)
    net.eval()
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.calibrate([x])
    before = [net.select(values)(x) for values in (net.max(), net.min())]
    mixed = relaxed(net)
    mixed(x).sum().backward()
    with pytest.raises(RuntimeError):
        mixed(torch.randn(4, 5, 8, 8))
    mixed.disagreement(x)
    net.zero_grad()
    for values, output in zip((net.max(), net.min()), before, strict=True):
        assert torch.equal(net.select(values)(x), output)
        torch.testing.assert_close(net.export(values)(x), output)
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())


def test_gradients_reach_weights_and_alphas() -> None:
    net = conv()
    mixed = relaxed(net)
    optimizer = SubnetOptimizer(net, torch.optim.SGD(net.parameters(), 0.1))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    mixed(torch.randn(4, 3, 8, 8)).square().sum().backward()
    assert all(alpha.grad is not None and alpha.grad.abs().sum() > 0 for alpha in mixed.alphas.values())
    optimizer.step()
    assert all(not torch.equal(net.state_dict()[name], before[name]) for name in mixed.weights if name not in ("stem.bias", *SILENT))


#: biases before BatchNorm have no gradient but rounding
SILENT = tuple(f"blocks.{i}.conv.bias" for i in range(3))


@pytest.mark.parametrize("coefficients", [Softmax(), Dirichlet(), Gumbel(2.0, 0.5)], ids=lambda c: type(c).__name__)
def test_alphas_find_the_planted_width(coefficients: Coefficients) -> None:
    """Of a network whose first four of eight units are a teacher's, and whose others are noise, the width 4 is best."""
    torch.manual_seed(0)
    net = elastic(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)), "width 0 : 1 2 4 8", torch.zeros(1, 6))
    with torch.no_grad():
        net.state_dict()["2.weight"][:, 4:] *= 4
    net.requires_grad_(False)
    x = torch.randn(256, 6)
    y = net.select({"width 0": 4})(x)
    mixed = relaxed(net, coefficients, seed=1)
    optimizer = torch.optim.Adam(mixed.alphas.values(), 0.1)
    for step in range(120):
        mixed.done = step / 120
        optimizer.zero_grad()
        (nn.functional.mse_loss(mixed(x), y) + mixed.penalty()).backward()
        optimizer.step()
    assert mixed.values() == {"width 0": 4}


def test_gumbel_draws_as_often_as_the_softmax_says() -> None:
    alpha, random = torch.tensor([0.0, 1.0, 2.0]), torch.Generator().manual_seed(0)
    draws = torch.stack([Gumbel().draw(alpha, Field("f", (0, 1, 2)), random, 0.0) for _ in range(2000)])
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(draws.mean(0), alpha.softmax(0), atol=0.03, rtol=0)


def test_gumbel_top_two_draws_without_replacement() -> None:
    """P(first then second) of the Plackett-Luce model, summed over both orders."""
    alpha, random = torch.tensor([0.0, 1.0, 2.0]), torch.Generator().manual_seed(0)
    draws = torch.stack([Gumbel().draw(alpha, Field("f", (0, 1, 2), (), 2, True), random, 0.0) for _ in range(2000)])
    p = alpha.softmax(0)
    wanted = [sum(p[i] * p[j] / (1 - p[i]) for i, j in ((a, b), (b, a))) for a, b in ((0, 1), (0, 2), (1, 2))]
    pairs = [float((draws[:, a] * draws[:, b]).mean()) for a, b in ((0, 1), (0, 2), (1, 2))]
    torch.testing.assert_close(torch.tensor(pairs), torch.stack(wanted), atol=0.04, rtol=0)  # type: ignore[arg-type]


def test_dirichlet_has_its_mean_and_the_gradient_of_the_mean() -> None:
    """Second formula: E[coefficient k] = concentration k / sum, and the average of the draws' gradients is this one's gradient."""
    alpha, random, field = torch.tensor([0.5, -0.3, 1.0], requires_grad=True), torch.Generator().manual_seed(0), Field("f", (0, 1, 2))
    method = Dirichlet()
    drawn = torch.stack([method.draw(alpha, field, random, 0.0) for _ in range(2000)]).mean(0)
    mean = method.mean(alpha, field)
    torch.testing.assert_close(drawn, mean, atol=0.03, rtol=0)
    (one,), (two,) = torch.autograd.grad(drawn[0], alpha), torch.autograd.grad(mean[0], alpha)
    torch.testing.assert_close(one, two, atol=0.03, rtol=0)
    assert method.penalty(torch.zeros(3)) == 0 < method.penalty(torch.ones(3))


def test_evaluation_knows_no_chance() -> None:
    mixed = relaxed(conv(), Gumbel()).eval()
    with torch.no_grad():
        mixed.alphas["width stem"].copy_(torch.tensor([0.0, 2.0, 1.0]))
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(mixed(x), mixed(x))
    assert mixed.draw()["width stem"].tolist() == [0, 1, 0]
    assert mixed.values()["width stem"] == 4


class Cell(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = Choice({"skip": nn.Identity(), "linear": nn.Linear(3, 3)})
        self.node = Join([nn.Identity(), nn.Linear(3, 3), nn.Identity()], count=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.node(x, x, self.a(x))


def test_operators_and_edges_of_a_plain_module() -> None:
    cell, x = Cell(), torch.randn(2, 3)
    mixed = relaxed(cell)
    assert mixed.fields["a"].free == (True, False)
    halves = 2 * [0.5]
    wanted = (x + cell.node.edges[1](x) + 0.5 * (x + cell.a.linear(x))) / 3
    torch.testing.assert_close(mixed.run(x, coefficients={"a": torch.tensor(halves), "node": torch.full((3,), 1 / 3)}), wanted)
    assert mixed.values() == {"a": "skip", "node": "0+1"}
    torch.testing.assert_close(mixed.select({"a": "skip", "node": "0+2"})(x), 2 * x)
    assert cell.a.coefficients is None


def test_an_option_without_coefficient_does_not_run() -> None:
    cell = Cell()
    ran: list[str] = []
    cell.a.linear.register_forward_hook(lambda *_: ran.append("linear"))
    mixed = relaxed(cell)
    mixed.run(torch.randn(2, 3), coefficients={"a": torch.tensor([1.0, 0.0]), "node": torch.ones(3)})
    assert not ran
    mixed(torch.randn(2, 3))
    assert ran


def test_other_weights_stand_in_for_a_while() -> None:
    net = attention()
    mixed = relaxed(net)
    x = torch.randn(2, 5, 3)
    other = {name: torch.randn_like(tensor).requires_grad_() for name, tensor in mixed.weights.items()}
    output = mixed.run(x, other)
    grads = torch.autograd.grad(output.sum(), list(other.values()))
    assert len(grads) == len(other)
    with torch.no_grad():
        for name, tensor in net.named_parameters():
            tensor.copy_(other[name])
    torch.testing.assert_close(mixed(x), output)


def test_what_cannot_be_relaxed_is_said() -> None:
    strided = "stride 0 : 2 1\nwidth 0 : 2 4"
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    net = elastic(model, strided, torch.zeros(1, 3, 8, 8))
    with pytest.raises(BadParameter, match=r"'stride 0' cannot be relaxed.*`fixed`"):
        relaxed(net)
    assert relaxed(net, fixed={"stride 0": 2}).values()["stride 0"] == 2
    with pytest.raises(UnknownName, match="stride 1"):
        relaxed(net, fixed={"stride 1": 2})
    with pytest.raises(BadParameter, match="every field is fixed"):
        relaxed(net, fixed={"stride 0": 2, "width 0": 4})
    with pytest.raises(BadParameter, match="nothing to relax"):
        relaxed(nn.Linear(2, 2))
    with pytest.raises(BadParameter, match="`fixed` is of elastic models"):
        relaxed(Cell(), fixed={"a": "skip"})
    with pytest.raises(BadParameter, match="no coefficients are given for 'node'"):
        relaxed(Cell(), {"a": Softmax()})
    with pytest.raises(UnknownName, match="relaxed field"):
        relaxed(Cell(), {"a": Softmax(), "node": Softmax(), "b": Softmax()})


def test_a_depth_that_is_added_up_outside_its_blocks_is_refused() -> None:
    class Outside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])

        def forward(self, x: Tensor) -> Tensor:
            for block in self.blocks:
                x = x + block(x)
            return x

    net = elastic(Outside(), "depth blocks : 1 2", torch.ones(1, 4))
    with pytest.raises(BadParameter, match=r"'depth blocks' cannot be relaxed.*outside the blocks"):
        relaxed(net)


class Operators(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(4, 8), nn.Linear(8, 2)
        two = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
        self.cell = Choice({"skip": nn.Identity(), "one": nn.Linear(8, 8), "two": two})

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(self.stem(x).relu()))


def test_operators_of_an_elastic_model_are_mixed_with_its_sizes() -> None:
    torch.manual_seed(0)
    net = elastic(Operators(), "operator cell : skip two\nwidth stem : 4 8\nwidth cell.two.0 : 2 8", torch.zeros(1, 4))
    x = torch.randn(5, 4)
    before = [net.select(values)(x) for values in net.space.enumerate()]
    net.select(net.min())
    mixed = relaxed(net)
    assert mixed.fields["operator cell"].free == (True, False)
    assert max(mixed.disagreement(x).values()) < 1e-5
    mixed(x).sum().backward()
    unused = {"cell.one.weight", "cell.one.bias"}
    assert {name for name, tensor in net.named_parameters() if tensor.grad is None} == unused
    assert all(torch.equal(net.select(values)(x), output) for values, output in zip(net.space.enumerate(), before, strict=True))
    assert costs_of(mixed)["operator cell"][0] == 0 < costs_of(mixed)["operator cell"][1]


def test_bits_are_mixed_with_widths() -> None:
    torch.manual_seed(0)
    net = elastic(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), "bits 0 : 2 4 32\nwidth 0 : 4 8", torch.zeros(1, 4))
    x = torch.randn(5, 4)
    mixed = relaxed(net)
    assert max(mixed.disagreement(x).values()) < 1e-5
    shares = torch.tensor([0.5, 0.25, 0.25])
    wanted = sum(share * net.select({"bits 0": bits, "width 0": 8}).model[0](x) for share, bits in zip(shares, (2, 4, 32), strict=True))
    seen: list[Tensor] = []
    hook = net.model[0].register_forward_hook(lambda module, inputs, output: seen.append(output))
    mixed.run(x, coefficients={"bits 0": shares, "width 0": torch.tensor([0.0, 1.0])})
    hook.remove()
    torch.testing.assert_close(seen[0], wanted)
    mixed(x).square().sum().backward()
    assert all(alpha.grad is not None and alpha.grad.abs().sum() > 0 for alpha in mixed.alphas.values())


def test_a_transformer_of_transformers_agrees_in_width_and_heads() -> None:
    torch.manual_seed(0)
    ids = torch.randint(0, 11, (2, 5))
    config = LlamaConfig(vocab_size=11, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2)
    table = "width model.embed_tokens : 8 16\nheads model.layers.* : 1 2"
    net = elastic(LlamaForCausalLM(config).eval(), table, {"input_ids": ids}, outputs=lambda out: out.logits)
    assert max(relaxed(net).disagreement({"input_ids": ids}).values()) < 1e-5


def test_alphas_find_the_planted_kernel_and_depth() -> None:
    """Of a network whose kernel is noise outside the middle 3 x 3, and whose second and third blocks are noise, that kernel and one block are best."""
    net = conv("kernel stem : 1 3 5\ndepth blocks : 1 2 3")
    with torch.no_grad():
        net.state_dict()["stem.weight"][:, :, [0, 0, 4, 4], [0, 4, 0, 4]] *= 20
    net.requires_grad_(False)
    x = torch.randn(16, 3, 8, 8)
    best = {"kernel stem": 3, "depth blocks": 1}
    y = net.select(best)(x)
    mixed = relaxed(net)
    optimizer = torch.optim.Adam(mixed.alphas.values(), 0.2)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.mse_loss(mixed(x), y).backward()
        optimizer.step()
    assert mixed.values() == best
