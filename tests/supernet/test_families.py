"""Every family of models: all its subnets are exported exactly, and the model is what it was when they are gone."""

from functools import cache

import pytest
import torch
from safetensors.torch import save
from torch import nn

from loomweight.derive.derive import derivations
from loomweight.supernet import Elastic, elastic

from .families import FAMILIES

pytestmark = pytest.mark.filterwarnings(
    "ignore:this subnet is evaluated with BatchNorm", "ignore:the config of the exported model cannot say", "ignore:the path through the model depends on data"
)
every_family = pytest.mark.parametrize("name", FAMILIES)


@cache
def net_of(name: str) -> Elastic:
    """One elastic model for all tests here, which leave it as it is."""
    family = FAMILIES[name]
    return elastic(family.made(), family.space, family.example, outputs=family.outputs).eval()


@every_family
@torch.no_grad()
def test_the_largest_subnet_is_the_model(name: str) -> None:
    family, net = FAMILIES[name], net_of(name)
    plain = family.made().eval()
    for seed in range(3):
        family.run(net.select(net.sample(seed)))
    apart = 1e-6 if name == "encoder" else 0  # torch's own encoder has a fused path for evaluation
    torch.testing.assert_close(family.run(net.select(net.max())), family.run(plain), rtol=0, atol=apart)
    assert net.state_dict().keys() == plain.state_dict().keys()
    assert all(torch.equal(tensor, plain.state_dict()[key]) for key, tensor in net.state_dict().items())


@every_family
@torch.no_grad()
def test_an_exported_subnet_computes_what_the_subnet_does_and_owns_exactly_its_bytes(name: str) -> None:
    family, net = FAMILIES[name], net_of(name)
    whole = sum(tensor.numel() for tensor in {id(tensor): tensor for tensor in net.state_dict().values()}.values())
    for values in (net.min(), *(net.sample(seed) for seed in range(4))):
        plain = net.export(values)
        assert net.difference < 1e-6
        torch.testing.assert_close(family.run(plain), family.run(net.select(values)), rtol=1e-5, atol=1e-6)
        assert not derivations(plain)
        tensors = {id(tensor): tensor for tensor in (*plain.parameters(), *plain.buffers())}.values()
        assert all(tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size() for tensor in tensors)
        cost = net.cost(values)
        assert sum(tensor.numel() for tensor in plain.parameters()) == cost.params <= whole


@every_family
def test_an_exported_subnet_is_free_of_the_supernet(name: str) -> None:
    net = net_of(name)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    plain = net.export(net.min())
    with torch.no_grad():
        for tensor in plain.parameters():
            tensor.add_(1)
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())
    own = {tensor.data_ptr() for tensor in plain.state_dict().values() if tensor.numel()}
    assert not own & {tensor.data_ptr() for tensor in net.state_dict().values()}
    apart = {key: tensor for key, tensor in plain.state_dict().items() if key != "lm_head.weight"}
    assert len(save(apart)) < sum(tensor.numel() * tensor.element_size() for tensor in apart.values()) + 200 * len(apart) + 200


@every_family
def test_gradients_and_costs_are_those_of_the_subnet(name: str) -> None:
    family, net = FAMILIES[name], net_of(name)
    values = net.min()
    plain = net.export(values)
    net.zero_grad()
    net.select(values)
    family.run(net).square().sum().backward()
    family.run(plain).square().sum().backward()
    got = sum(leaf.tensor.grad.numel() for one in {id(s): s for s in net.stored().values()}.values() for leaf in one.with_gradient())
    assert got <= net.cost(values).params
    expected = sorted(tensor.grad.square().sum().item() for tensor in plain.parameters() if tensor.grad is not None)
    assert got == sum(tensor.grad.numel() for tensor in plain.parameters() if tensor.grad is not None)
    assert sum(expected) > 0
    net.zero_grad()


@every_family
def test_modes_reach_blocks_that_are_not_chosen(name: str) -> None:
    net = net_of(name)
    net.select(net.min()).train()
    with net.entire() as whole:
        assert all(module.training for module in whole.modules())
    net.eval()
    with net.entire() as whole:
        assert not any(module.training for module in whole.modules())
    assert net.active == net.min()


def test_a_module_that_is_used_twice_varies_in_both_places() -> None:
    shared = nn.Linear(6, 6)
    model = nn.Sequential(nn.Linear(4, 6), shared, nn.ReLU(), shared, nn.Linear(6, 2))
    net = elastic(model, "width 0 : 3 6", torch.randn(2, 4, generator=torch.Generator().manual_seed(0)))
    plain = net.export(net.min())
    assert plain[1] is plain[3]
    assert plain[1].weight.shape == (3, 3)
