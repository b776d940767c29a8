"""derive: LoRA, tying and a mixture of experts in ten lines each; folding gives plain weights."""

import copy

import pytest
import torch
from torch import Tensor, nn

from loomweight.derive import LowRank, Mixture, Quantised, Slice, Superposition, Tied, derivations, derive, fold, restore
from loomweight.errors import BadParameter, ShapesDiffer, UnknownName

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3))


def trained(net: nn.Module, steps: int = 30) -> float:
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (net(X) - 1).square().mean()
        loss.backward()
        optimizer.step()
    return loss.item()


def test_lora_in_ten_lines() -> None:
    net = model()
    for name, layer in list(net.named_modules()):
        if isinstance(layer, nn.Linear):
            derive(net, f"{name}.weight", LowRank(layer.weight, rank=2))
            layer.bias.requires_grad_(False)
    assert torch.equal(net(X), model()(X))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert trained(net) < 0.2
    moved = {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {f"{i}.derived.weight.{part}" for i in (0, 2, 4) for part in ("down", "up")}
    plain = fold(net)
    torch.testing.assert_close(plain(X), net(X))
    assert list(plain.state_dict()) == list(model().state_dict())


def test_layer_tying_in_ten_lines() -> None:
    net = nn.Sequential(*(nn.Linear(6, 6) for _ in range(3)))
    for layer, name in ((1, "weight"), (1, "bias"), (2, "weight")):
        derive(net, f"{layer}.{name}", Tied(net[0], name))
    assert {name for name, _ in net.named_parameters()} == {"0.weight", "0.bias", "2.bias"}
    x = torch.randn(2, 6, generator=torch.Generator().manual_seed(2))
    by_hand = [copy.deepcopy(net[0]) for _ in range(2)]
    expected = nn.functional.linear(by_hand[1](by_hand[0](x)), net[0].weight, net[2].bias)
    torch.testing.assert_close(net(x), expected)
    plain = fold(net)
    assert plain[0].weight is plain[1].weight is plain[2].weight
    assert [str(one) for one in derivations(net)] == ["1.weight <- Tied(0.weight)", "1.bias <- Tied(0.bias)", "2.weight <- Tied(0.weight)"]


def test_a_mixture_of_experts_in_ten_lines() -> None:
    net, router = model(), nn.Sequential(nn.Linear(4, 3), nn.Softmax(-1))

    class Routed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = router

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x.mean(0))

    experts = [nn.Parameter(torch.randn(6, 4, generator=torch.Generator().manual_seed(i))) for i in range(3)]
    derive(net, "0.weight", Mixture(experts, Routed(), by_input=True))
    weight = sum(c * expert for c, expert in zip(router(X.mean(0)), experts, strict=True))
    torch.testing.assert_close(net(X), model()[1:](nn.functional.linear(X, weight, net[0].bias)))
    assert trained(net) < 0.3
    net(X).sum().backward()
    assert all(tensor.grad is not None for tensor in (*experts, *router.parameters()))


@pytest.mark.parametrize("kind", ["slice", "superposition", "quantised", "low rank", "mixture"])
def test_gradients_are_those_of_the_formula(kind: str) -> None:
    stored = nn.Parameter(torch.randn(6, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64))
    alpha = nn.Parameter(torch.tensor([0.3, 0.7], dtype=torch.float64))
    how = {
        "slice": lambda: Slice(stored, (3, (1, 4))),
        "superposition": lambda: Superposition(stored, {0: (2, 6)}, {0: lambda: alpha}),
        "quantised": lambda: Quantised(stored, 32),
        "low rank": lambda: LowRank(stored, 2).double(),
        "mixture": lambda: Mixture([stored, nn.Parameter(stored.detach() * 2)], lambda: alpha),
    }[kind]()
    for parameter in how.parameters():
        parameter.requires_grad_()
    torch.nn.init.normal_(how.up, generator=torch.Generator().manual_seed(4)) if kind == "low rank" else None
    names, tensors = zip(*how.named_parameters(), strict=True)
    assert torch.autograd.gradcheck(lambda *values: torch.func.functional_call(how, dict(zip(names, values, strict=True)), ()), tensors)


def test_superposition_is_the_sum_of_padded_slices() -> None:
    stored, weights = nn.Parameter(torch.randn(6, 4, generator=torch.Generator().manual_seed(3))), torch.tensor([0.2, 0.5, 0.3])
    padded = [nn.functional.pad(stored[:n], (0, 0, 0, 6 - n)) for n in (2, 3, 6)]
    expected = sum(w * part for w, part in zip(weights, padded, strict=True))
    torch.testing.assert_close(Superposition(stored, {0: (2, 3, 6)}, {0: lambda: weights})(), expected)


def test_folding_owns_its_bytes_and_copies_nothing_that_is_not_used() -> None:
    net = nn.Sequential(nn.Linear(4, 6))
    big = nn.Parameter(torch.randn(1000, 1000))
    derive(net, "0.weight", Slice(big, (6, 4)))
    with torch.no_grad():
        plain = fold(net)
    assert plain[0].weight.untyped_storage().nbytes() == 6 * 4 * 4
    assert plain[0].weight.requires_grad
    plain[0].weight.data.add_(1)
    assert torch.equal(net[0].weight, big[:6, :4])


def test_frozen_and_remembering_modules_fold() -> None:
    net = nn.Sequential(nn.Linear(4, 6))
    derive(net, "0.weight", Slice(nn.Parameter(torch.randn(8, 4), requires_grad=False), (6,)))
    net[0].last = net(X)  # a tensor in the middle of a computation, which torch refuses to copy
    plain = fold(net)
    assert not plain[0].weight.requires_grad
    assert torch.equal(plain[0].last, net[0].last)


def test_one_derivation_in_two_places_is_one_tensor_when_folded() -> None:
    net, how = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), Slice(nn.Parameter(torch.randn(8, 4)), (4,))
    derive(net, "0.weight", how)
    derive(net, "1.weight", how)
    plain = fold(net)
    assert plain[0].weight is plain[1].weight


def test_copies_moves_and_states_take_derivations_along() -> None:
    net = model()
    derive(net, "2.weight", Slice(nn.Parameter(torch.randn(9, 6)), (6,)))
    twin = copy.deepcopy(net)
    with torch.no_grad():
        twin.get_parameter("2.derived.weight.stored").zero_()
    assert not twin[2].weight.any()
    assert net[2].weight.any()
    assert twin.double()[2].weight.dtype == torch.float64
    again = model()
    derive(again, "2.weight", Slice(nn.Parameter(torch.zeros(9, 6)), (6,)))
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(X), net(X))
    value = net[2].weight.detach().clone()
    restore(net, "2.weight")
    assert type(net[2]) is nn.Linear
    assert torch.equal(net[2].weight, value)
    assert derivations(net) == ()


def test_errors() -> None:
    net = model()
    with pytest.raises(ShapesDiffer, match=r"0.weight has shape \(6, 4\), but Slice makes \(2, 4\)"):
        derive(net, "0.weight", Slice(nn.Parameter(torch.zeros(9, 4)), (2,)))
    with pytest.raises(UnknownName, match=r"no parameter named '0.wieght'; nearest: '0.weight'"):
        derive(net, "0.wieght", Slice(nn.Parameter(torch.zeros(9, 4)), (2,)))
    with pytest.raises(BadParameter, match=r"0.weight is not derived; derived are: none"):
        restore(net, "0.weight")
    with pytest.raises(BadParameter, match="2 to 16 bits, or left as it is by 32; found 1"):
        Quantised(net[0].weight, 1)
    with pytest.raises(BadParameter, match="rank of at least 1"):
        LowRank(net[0].weight, 0)
    with pytest.raises(BadParameter, match=r"sizes of axis 0 must ascend to its length 6, found \[4, 2\]"):
        Superposition(net[0].weight, {0: (4, 2)}, {0: lambda: torch.ones(2)})
