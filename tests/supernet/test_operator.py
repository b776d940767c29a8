"""operator: one of several named modules in a place, as in the cells of NAS-Bench-201."""

import pytest
import torch
from torch import nn

from loomweight.errors import BadParameter, UnknownName
from loomweight.supernet import Choice, elastic


def place(width: int = 8) -> Choice:
    return Choice(
        {
            "skip": nn.Identity(),
            "conv1": nn.Conv2d(width, width, 1),
            "deep": nn.Sequential(nn.Conv2d(width, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, width, 1)),
        }
    )


def model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), place(), nn.ReLU(), place(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


X = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def test_every_choice_is_the_network_written_by_hand() -> None:
    net = elastic(model(), "operator * : skip conv1 deep", X)
    for values in net.space.enumerate():
        made = model()
        by_hand = nn.Sequential(*(getattr(part, values[f"operator {i}"]) if isinstance(part, Choice) else part for i, part in enumerate(made)))
        assert torch.equal(net.select(values)(X), by_hand(X))
        plain = net.export(values)
        assert torch.equal(plain(X), by_hand(X))
        assert list(plain.state_dict()) == list(by_hand.state_dict())
        assert not any(isinstance(module, Choice) for module in plain.modules())
    assert net.space.count() == 9


def test_widths_around_and_inside_candidates_vary_with_them() -> None:
    net = elastic(model(), "operator * : skip conv1 deep\nwidth 0 : 4 8\nwidth *.deep : 6 12", X)
    for seed in range(12):
        net.export(net.sample(seed))
        assert net.difference < 1e-6
    assert net.space.depends["width 2.deep.0"] == ("operator 2", ("deep",))
    assert net.space.count() == 2 * (2 + 2) ** 2


def test_only_the_chosen_candidate_gets_gradients_and_costs() -> None:
    net = elastic(model(), "operator * : skip conv1 deep", X)
    net.select({"operator 2": "conv1", "operator 4": "skip"})(X).sum().backward()
    with_gradient = {name for name, tensor in net.named_parameters() if tensor.grad is not None}
    assert with_gradient == {"0.weight", "0.bias", "2.conv1.weight", "2.conv1.bias", "7.weight", "7.bias"}
    assert net.cost({"operator 2": "skip", "operator 4": "skip"}).params == 3 * 8 * 9 + 8 + 8 * 4 + 4


def test_modes_moves_and_states_reach_candidates_that_are_not_chosen() -> None:
    net = elastic(model(), "operator * : skip conv1 deep", X)
    net.select(net.min()).train()
    net.double()
    state = net.state_dict()
    assert {tensor.dtype for tensor in state.values()} == {torch.float64}
    assert any(name.startswith("4.deep") for name in state)
    with net.entire() as whole:
        assert all(module.training for module in whole.modules())
    net.eval()
    with net.entire() as whole:
        assert not any(module.training for module in whole.modules())
    assert net.active == net.min()


def test_coefficients_sum_the_candidates() -> None:
    choice = place(3)
    choice.coefficients = lambda: torch.tensor([0.5, 0.25, 0.25])
    expected = 0.5 * X + 0.25 * choice.conv1(X) + 0.25 * choice.deep(X)
    torch.testing.assert_close(choice(X), expected)


def test_tied_places_choose_alike_and_a_star_is_all_candidates() -> None:
    net = elastic(model(), "operator * : * tied", X)
    assert [net.space.dimensions[name].options for name in net.space.names] == [("skip", "conv1", "deep")]


def test_the_last_name_of_the_line_is_the_largest() -> None:
    net = elastic(model(), "operator 2 : deep skip", X)
    assert net.max() == {"operator 2": "skip"} == net.active
    assert net.cost().params < net.cost(net.min()).params


def test_bad_names() -> None:
    with pytest.raises(UnknownName, match=r"no candidate of 2 \(line 1 of the space, `operator \*`\) named 'conv'; nearest: 'conv1'"):
        elastic(model(), "operator * : skip conv", X)
    with pytest.raises(UnknownName, match="names no Choice of this model; there are: none"):
        elastic(nn.Sequential(nn.Linear(2, 2)), "operator * : a b", torch.zeros(1, 2))
    with pytest.raises(BadParameter, match="a candidate cannot be called 'train'"):
        Choice({"train": nn.Identity()})
    net = elastic(model(), "operator * : skip deep", X)
    with pytest.raises(BadParameter, match=r"operator 2 = 'conv1' is not in .*; allowed: 'skip', 'deep'"):
        net.select({"operator 2": "conv1", "operator 4": "skip"})
