"""Selecting, training, saving and moving an elastic model: what is chosen is used, and nothing else is touched."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from loomweight.errors import NamesDiffer, ShapesDiffer
from loomweight.supernet import Elastic, SubnetOptimizer, elastic

from .families import FAMILIES, drawn
from .test_families import net_of

X, IDS = drawn(5, 4), torch.tensor([[1, 2, 3, 4]])
SPACE = "width 0 : 2 4 8\nwidth 2 : 3 6"


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 2))


def made() -> Elastic:
    return elastic(model(), SPACE, X)


def loss(net: nn.Module) -> Tensor:
    return (net(X) - 1).square().mean()


def state_of(net: Elastic) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def used(net: Elastic, values: dict[str, Any]) -> dict[str, Tensor]:
    """1 where a subnet uses an entry, by hand."""
    a, b = values["width 0"], values["width 2"]
    masks = {name: torch.zeros_like(tensor) for name, tensor in net.state_dict().items()}
    masks["0.weight"][:a], masks["0.bias"][:a], masks["2.weight"][:b, :a], masks["2.bias"][:b], masks["4.weight"][:, :b] = 1, 1, 1, 1, 1
    masks["4.bias"][:] = 1
    return masks


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.1, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.1, momentum=0.9),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1, initial_accumulator_value=0.1),
    "adadelta": lambda p: torch.optim.Adadelta(p, lr=0.1),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.1),
    "radam": lambda p: torch.optim.RAdam(p, lr=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_inactive_entries_do_not_drift(name: str) -> None:
    """One step of the largest net, then one of the smallest: momentum and decay of entries that it does not use wait."""
    net = made()
    optimizer = SubnetOptimizer(net, OPTIMIZERS[name](net.parameters()))
    loss(net.select(net.max())).backward()
    optimizer.step()
    optimizer.zero_grad()
    before = state_of(net)
    loss(net.select(net.min())).backward()
    optimizer.step()
    masks = used(net, net.min())
    for key, tensor in net.state_dict().items():
        assert torch.equal(tensor[masks[key] == 0], before[key][masks[key] == 0])
    moved = sum(int((tensor != before[key]).sum()) for key, tensor in net.state_dict().items())
    assert moved == sum(int(mask.sum()) for mask in masks.values())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_subnet_trained_alone_is_the_plain_model_trained_alone(name: str) -> None:
    net = made()
    plain = net.export(net.min())
    ours, theirs = SubnetOptimizer(net, OPTIMIZERS[name](net.parameters())), OPTIMIZERS[name](plain.parameters())
    net.select(net.min())
    for _ in range(5):
        for each, optimizer in ((net, ours), (plain, theirs)):
            optimizer.zero_grad()
            loss(each).backward()
            optimizer.step()
    for key, tensor in net.export(net.min()).state_dict().items():
        torch.testing.assert_close(tensor, plain.state_dict()[key])


@settings(max_examples=25)
@given(seeds=st.lists(st.integers(0, 10_000), min_size=1, max_size=4), name=st.sampled_from(["sgd", "adamw"]))
def test_gradients_of_several_subnets_add_up(seeds: list[int], name: str) -> None:
    """As those of a plain model whose unused units are masked do."""
    net, plain = made(), model()
    chosen = [net.sample(seed) for seed in seeds]
    optimizer, theirs = SubnetOptimizer(net, OPTIMIZERS[name](net.parameters())), OPTIMIZERS[name](plain.parameters())
    for values in chosen:
        loss(net.select(values)).backward()
        masks = used(net, values)
        masked = {key: tensor * masks[key] for key, tensor in plain.named_parameters()}
        (torch.func.functional_call(plain, masked, (X,)) - 1).square().mean().backward()
    optimizer.step()
    theirs.step()
    touched = {key: torch.stack([used(net, values)[key] for values in chosen]).amax(0) > 0 for key in net.state_dict()}
    whole = not any(values != chosen[0] for values in chosen)
    for key, tensor in net.state_dict().items():
        if whole or bool(touched[key].all()):
            torch.testing.assert_close(tensor[touched[key]], plain.state_dict()[key][touched[key]], rtol=1e-4, atol=1e-5)
        assert torch.equal(tensor[~touched[key]], model().state_dict()[key][~touched[key]])


def test_the_sum_of_overlapping_gradients_is_exact() -> None:
    net = made()
    subnets = [{"width 0": 2, "width 2": 6}, {"width 0": 8, "width 2": 3}, {"width 0": 4, "width 2": 6}, net.max()]
    total = {key: torch.zeros_like(tensor) for key, tensor in net.state_dict().items()}
    for values in subnets:
        plain, masks = net.export(values), used(net, values)
        loss(plain).backward()
        for key, tensor in plain.named_parameters():
            total[key][masks[key] == 1] += tensor.grad.flatten()
        loss(net.select(values)).backward()
    before = state_of(net)
    SubnetOptimizer(net, torch.optim.SGD(net.parameters(), lr=1.0)).step()
    for key, tensor in net.state_dict().items():
        torch.testing.assert_close(before[key] - tensor, total[key])


def test_a_resumed_run_goes_on_exactly() -> None:
    def steps(net: Elastic, optimizer: SubnetOptimizer, seeds: range) -> None:
        for seed in seeds:
            optimizer.zero_grad()
            loss(net.select(net.sample(seed))).backward()
            optimizer.step()

    one = made()
    first = SubnetOptimizer(one, OPTIMIZERS["adamw"](one.parameters()))
    steps(one, first, range(6))
    saved = {"net": state_of(one), "optimizer": first.state_dict()}
    two = made()
    second = SubnetOptimizer(two, OPTIMIZERS["adamw"](two.parameters()))
    two.load_state_dict(saved["net"])
    import copy

    second.load_state_dict(copy.deepcopy(saved["optimizer"]))
    steps(one, first, range(6, 12))
    steps(two, second, range(6, 12))
    assert all(torch.equal(tensor, two.state_dict()[key]) for key, tensor in one.state_dict().items())


def test_frozen_parameters_stay_and_thaw() -> None:
    net = made()
    optimizer = SubnetOptimizer(net, OPTIMIZERS["adamw"](net.parameters()))
    net.select(net.min())(X)
    for frozen in (True, False):
        dict(net.named_parameters())["0.weight"].requires_grad_(not frozen)
        before = state_of(net)
        optimizer.zero_grad()
        loss(net.select(net.min())).backward()
        optimizer.step()
        assert torch.equal(net.state_dict()["0.weight"], before["0.weight"]) is frozen
        assert not torch.equal(net.state_dict()["0.bias"], before["0.bias"])


def test_gradients_go_with_zero_grad() -> None:
    net = made()
    for values in net.space.enumerate():
        loss(net.select(values)).backward()
    net.zero_grad()
    assert not [name for name, one in net.stored().items() if list(one.with_gradient())]


def test_moving_to_another_type_keeps_the_choice_and_the_values() -> None:
    net = made()
    net.select(net.min())
    expected, weights = net(X), state_of(net)
    net.double()
    assert net.active == net.min()
    torch.testing.assert_close(net(X.double()), expected.double())
    assert all(torch.equal(tensor, weights[key].double()) for key, tensor in net.state_dict().items())
    net.export(net.min())
    optimizer = SubnetOptimizer(net, OPTIMIZERS["adamw"](net.parameters()))
    (net(X.double()) - 1).square().mean().backward()
    optimizer.step()
    assert (net.state_dict()["0.weight"][:2] != weights["0.weight"][:2]).all()
    assert torch.equal(net.state_dict()["0.weight"][2:], weights["0.weight"][2:].double())


def test_optimizer_state_follows_the_leaves_after_a_move() -> None:
    net = made()
    optimizer = SubnetOptimizer(net, OPTIMIZERS["sgd"](net.parameters()))
    twin = made()
    other = SubnetOptimizer(twin, OPTIMIZERS["sgd"](twin.parameters()))
    for seed in range(12):
        for each, steps in ((net, optimizer), (twin, other)):
            steps.zero_grad()
            loss(each.select(each.sample(seed))).backward()
            steps.step()
        net.float()  # moves nothing, but all leaves are made anew
    assert all(torch.equal(tensor, twin.state_dict()[key]) for key, tensor in net.state_dict().items())


def test_states_that_do_not_fit_are_refused() -> None:
    net = made()
    state = state_of(net)
    with pytest.raises(NamesDiffer, match=r"'9.weight' in one of them only"):
        net.load_state_dict(state | {"9.weight": torch.zeros(1)})
    with pytest.raises(ShapesDiffer, match=r"0.bias has shape \(2,\) in the state, \(8,\) in the model"):
        net.load_state_dict(state | {"0.bias": torch.zeros(2)})
    assert all(torch.equal(tensor, state[key]) for key, tensor in net.state_dict().items())


@pytest.mark.filterwarnings("ignore:the path through the model depends on data")
@settings(max_examples=20)
@given(name=st.sampled_from(["cnn", "mobilenet", "encoder", "branching", "llama", "gpt2"]), seeds=st.lists(st.integers(0, 10_000), min_size=2, max_size=5))
@torch.no_grad()
def test_there_and_back_leaves_everything_as_it_was(name: str, seeds: list[int]) -> None:
    family, net = FAMILIES[name], net_of(name)
    first = net.sample(seeds[0])
    expected, weights = family.run(net.select(first)), state_of(net)
    for seed in seeds[1:]:
        family.run(net.select(net.sample(seed)))
    assert torch.equal(family.run(net.select(first)), expected)
    assert all(torch.equal(tensor, weights[key]) for key, tensor in net.state_dict().items())
    with net.selected(net.max()):
        pass
    assert net.active == net.space.canonical(first)


def test_no_global_random_number_is_drawn() -> None:
    """Of torch and numpy; Python's own is drawn from by beartype, which checks annotations while testing."""
    net = net_of("gpt2")
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    fresh = elastic(FAMILIES["encoder"].made(), "heads * : 2 4\ndepth encoder.layers : 1 2 3", IDS)
    fresh.select(fresh.sample(3))
    net.cost(net.sample(4))
    net.space.mutate(net.max(), 1)
    with warnings.catch_warnings(action="ignore"):
        net.export(net.min())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002


def test_tied_embeddings_are_one_tensor_in_use_and_in_gradients() -> None:
    family, net = FAMILIES["gpt2"], net_of("gpt2")
    net.select(net.min())
    assert net.model.lm_head.weight is net.model.transformer.wte.weight
    names = [name for name, _ in net.named_parameters()]
    assert "lm_head.weight" not in names
    assert len(list(net.named_parameters(remove_duplicate=False))) == len(names) + 1
    assert family.run(net).shape[-1] == 23
