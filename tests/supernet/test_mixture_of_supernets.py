"""Experts mixed by the architecture: the weight is the formula's, subnets get weights of their own, exports are plain."""

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from loomweight.derive import Mixture, Slice
from loomweight.errors import BadParameter, UnknownName
from loomweight.supernet import Elastic, SubnetOptimizer, elastic, grouped, mixture_of_supernets

Per = Literal["layer", "neuron"]
both = pytest.mark.parametrize("per", ["layer", "neuron"])


def mlp() -> Elastic:
    torch.manual_seed(0)
    return elastic(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)), "width 0 : 2 4 8\nwidth 2 : 3 6", torch.zeros(1, 4))


def encoder() -> Elastic:
    torch.manual_seed(0)
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), 2, enable_nested_tensor=False)
    return elastic(model, "heads * : 1 2\ndepth layers : 1 2\nwidth layers.*.linear1 : 4 16", torch.randn(2, 3, 8))


@both
@pytest.mark.parametrize("make", [mlp, encoder])
def test_at_first_the_net_computes_what_it_did(per: Per, make: Callable[[], Elastic]) -> None:
    net, plain = make(), make()
    mixture_of_supernets(net, 3, per=per)
    args = net._example[0]
    for seed in range(3):
        values = net.sample(seed)
        torch.testing.assert_close(net.select(values)(*args), plain.select(values)(*args), rtol=1e-5, atol=1e-6)


@both
def test_the_weight_is_the_mixture_sliced(per: Per) -> None:
    net = mlp()
    routing = mixture_of_supernets(net, 2, per=per, noise=0.5)
    state, values = net.state_dict(), {"width 0": 4, "width 2": 3}
    r = routing.coefficients(values)["2"]
    whole = sum(r[..., k, None] * state[name] for k, name in enumerate(["2.weight", "experts.1.2.weight"]))
    assert isinstance(whole, Tensor)
    torch.testing.assert_close(net.export(values).state_dict()["2.weight"], whole[:3, :4])
    torch.testing.assert_close(r.sum(-1), torch.ones(r.shape[:-1]))
    assert r.shape == ((6, 2) if per == "neuron" else (2,))


def test_the_router_is_the_formula() -> None:
    net = mlp()
    router = mixture_of_supernets(net, 3, hidden=5).routers["0"]
    code = torch.from_numpy(net.space.encode(net.min()))
    two = nn.Sequential(nn.Linear(len(code), 5), nn.ReLU(), nn.Linear(5, 3), nn.Softmax(-1))
    two.load_state_dict({"0.weight": router.first, "0.bias": router.first_bias, "2.weight": router.second, "2.bias": router.second_bias})
    torch.testing.assert_close(net.select(net.min()) and router(), two(code))


@both
def test_rows_inside_heads_keep_their_own_coefficients(per: Per) -> None:
    """Half of the heads: the rows of queries, keys and values that are left are mixed as they were in the whole."""
    net = encoder()
    routing = mixture_of_supernets(net, 2, ["layers.0.self_attn"], per=per, noise=0.5)
    small = {**net.max(), "heads layers.0.self_attn": 1}
    state = net.state_dict()
    name = "layers.0.self_attn.in_proj_weight"
    r = routing.coefficients(small)["layers.0.self_attn"]
    whole = sum(r[..., k, None] * tensor for k, tensor in enumerate([state[name], state[f"experts.1.{name}"]]))
    assert isinstance(whole, Tensor)
    rows = torch.cat([torch.arange(4) + 8 * part for part in range(3)])  # 2 heads of 4 in each of q, k, v
    torch.testing.assert_close(net.export(small).state_dict()[name], whole[rows])


@both
def test_experts_and_routers_are_trained_and_only_the_slice_moves(per: Per) -> None:
    net = mlp()
    mixture_of_supernets(net, 2, per=per)
    optimizer = SubnetOptimizer(net, torch.optim.AdamW(net.parameters(), lr=0.01))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.select(net.min())(torch.randn(8, 4)).square().sum().backward()
    optimizer.step()
    moved = {name: tensor != before[name] for name, tensor in net.state_dict().items()}
    assert all(moved[name].any() for name in ("0.weight", "experts.1.0.weight", "routers.0.second", "routers.2.first"))
    assert not moved["0.weight"][2:].any() and not moved["experts.1.0.weight"][2:].any() and not moved["experts.1.2.weight"][:, 2:].any()


def test_subnets_that_want_different_weights_get_them() -> None:
    """The same shared matrix should be I for narrow and -I for wide subnets: one weight cannot be both, a routed mixture can."""
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))

    def worst(mixed: bool) -> float:
        torch.manual_seed(0)
        net = elastic(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 8), nn.Linear(8, 4)), "width 1 : 4 8", x[:1])
        if mixed:
            mixture_of_supernets(net, 2, hidden=16)
        optimizer = SubnetOptimizer(net, torch.optim.Adam(net.parameters(), lr=0.05))
        for _ in range(60):
            optimizer.zero_grad()
            for width, sign in ((4, 1), (8, -1)):
                nn.functional.mse_loss(net.select({"width 1": width})(x), sign * x).backward()
            optimizer.step()
        with torch.no_grad():
            return max(nn.functional.mse_loss(net.select({"width 1": width})(x), sign * x).item() for width, sign in ((4, 1), (8, -1)))

    assert worst(True) < 0.3 * worst(False)


def test_exports_are_plain_and_costs_are_theirs() -> None:
    net, plain = mlp(), mlp()
    mixture_of_supernets(net, 4, noise=0.3)
    for values in (net.min(), net.max()):
        exported = net.export(values)
        assert net.difference < 1e-6
        assert list(exported.state_dict()) == list(plain.model.state_dict())
        assert all(type(module).__module__.startswith("torch.nn") for module in exported.modules())
        assert (net.cost(values).params, net.cost(values).flops, net.cost(values).nbytes) == (
            plain.cost(values).params,
            plain.cost(values).flops,
            plain.cost(values).nbytes,
        )


def test_state_goes_to_another_net_of_the_same_kind() -> None:
    net, other = mlp(), mlp()
    mixture_of_supernets(net, 2, noise=0.3, seed=1)
    mixture_of_supernets(other, 2, seed=2)
    other.load_state_dict(net.state_dict())
    x = torch.randn(3, 4)
    assert torch.equal(other.select(net.min())(x), net.select(net.min())(x))
    assert net.to(torch.float64).select(net.min())(x.double()).dtype == torch.float64


def test_a_mixture_of_derivations() -> None:
    stored = nn.Parameter(torch.arange(4.0))
    halves = Mixture([Slice(stored, (2,)), Slice(stored, ((2, 4),))], lambda: torch.tensor([0.25, 0.75]))
    assert halves().tolist() == [1.5, 2.5]


def test_messages() -> None:
    with pytest.raises(BadParameter, match="at least 2 experts"):
        mixture_of_supernets(mlp(), 1)
    with pytest.raises(UnknownName, match=r"'9' names no layer with a weight to mix; there are: .*0"):
        mixture_of_supernets(mlp(), 2, ["9"])
    embedding = elastic(nn.Sequential(nn.Embedding(5, 8), nn.Linear(8, 2)), "width 0 : 4 8", torch.tensor([[1]]))
    with pytest.raises(BadParameter, match=r"the neurons of 0 \(Embedding\) are not the first axis"):
        mixture_of_supernets(embedding, 2, per="neuron")
    net = mlp()
    grouped(net, 2)
    with pytest.raises(BadParameter, match=r"'0\.bias', '0\.weight' have copies already"):
        mixture_of_supernets(net, 2)
    net = mlp()
    mixture_of_supernets(net, 2)
    with pytest.raises(BadParameter, match=r"0\.weight is derived by Mixture"):
        grouped(net, 2)
    with pytest.raises(UnknownName, match="there are: none"):
        mixture_of_supernets(net, 2)
