"""What a training loop does around an elastic model: other memory, fused steps, hooks, a path that depends on data."""

import warnings

import pytest
import torch
from torch import Tensor, nn

from loomweight.errors import BadParameter
from loomweight.supernet import Elastic, SubnetOptimizer, elastic
from loomweight.trajectory import EMA

from .families import drawn

X = drawn(16, 6)


def made() -> Elastic:
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    return elastic(model, "width 0 : 2 4 8", X)


def of_first_units(net: Elastic, width: int) -> Tensor:
    """The subnet in training mode, from the whole model's tensors."""
    state = net.state_dict()
    hidden = nn.functional.batch_norm(X @ state["0.weight"][:width].T + state["0.bias"][:width], None, None, training=True)
    hidden = hidden * state["1.weight"][:width] + state["1.bias"][:width]
    return hidden.relu() @ state["3.weight"][:, :width].T + state["3.bias"]


def test_subnets_follow_parameters_that_are_given_other_memory() -> None:
    net = made().calibrate([X]).select({"width 0": 4})
    net(X)
    nn.utils.vector_to_parameters(torch.linspace(-1, 1, sum(map(torch.numel, net.parameters()))), net.parameters())
    torch.testing.assert_close(net(X), of_first_units(net, 4))
    for tensor in net.parameters():
        tensor.data = tensor.data * 2
    plain = net.export({"width 0": 2}).train()
    torch.testing.assert_close(plain(X), of_first_units(net, 2))


@pytest.mark.parametrize("how", [{}, {"foreach": True}, {"fused": True}], ids=str)
def test_statistics_are_new_after_any_kind_of_step(how: dict[str, bool]) -> None:
    net = made().calibrate([X])
    optimizer = SubnetOptimizer(net, torch.optim.AdamW(net.parameters(), lr=0.1, **how))
    net.select(net.min()).eval()(X).square().sum().backward()
    optimizer.step()
    net(X)
    torch.testing.assert_close(net.model[1].running_mean, net.model[0](X).mean(0))


def test_the_largest_subnet_is_warned_about_once_smaller_ones_were_trained() -> None:
    net = made()
    net.train()(X)
    net.eval()(X)
    net.train().select(net.min())(X)
    net.select(net.max()).eval()
    with pytest.warns(UserWarning, match="not its own"):
        net(X)


def test_hooks_of_steps_are_called() -> None:
    net, seen = made(), []
    optimizer = SubnetOptimizer(net, torch.optim.SGD(net.parameters(), lr=0.1))
    optimizer.register_step_pre_hook(lambda *given: seen.append("before"))
    optimizer.register_step_post_hook(lambda *given: seen.append("after"))
    net(X).sum().backward()
    optimizer.step()
    assert seen == ["before", "after"]


def test_groups_that_are_added_later_hold_parameters_of_the_model_only() -> None:
    net = made()
    optimizer = SubnetOptimizer(net, torch.optim.SGD([net.model[0].weight], lr=0.1))
    with pytest.raises(BadParameter, match="not the elastic model's"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(2))]})
    optimizer.add_param_group({"params": net.model[3].weight, "lr": 0.2})
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.2]


@pytest.mark.parametrize("space", ["", " "])
def test_what_is_no_space_is_refused(space: str) -> None:
    with pytest.raises(BadParameter, match="a space is a text"):
        elastic(nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 3)), space, X)


def test_a_plain_optimizer_on_the_parts_of_a_subnet_is_refused() -> None:
    net = made().select({"width 0": 2})
    plain = torch.optim.SGD([net.model[0].weight], lr=0.1)
    net(X).sum().backward()
    with pytest.raises(BadParameter, match="SubnetOptimizer"):
        plain.step()


def test_a_frozen_parameter_is_exported_frozen_whenever_it_was_frozen() -> None:
    net = made().calibrate([X]).select(smallest := {"width 0": 2})
    net(X)
    net.select(net.max()).model[0].requires_grad_(False)
    assert not net.export(smallest)[0].weight.requires_grad


def test_an_average_is_of_the_whole_tensors_whatever_is_chosen() -> None:
    net = elastic(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), "width 0 : 2 4 8", X)
    optimizer = SubnetOptimizer(net, torch.optim.SGD(net.parameters(), lr=0.1))
    ema, seen = EMA(net.select(net.min()), decay=0.5, from_start=True), [net.state_dict()["0.weight"].clone()]
    for width in (2, 8, 4, 2):
        optimizer.zero_grad()
        net.select({"width 0": width})(X).square().sum().backward()
        optimizer.step()
        ema.update()
        seen.append(net.state_dict()["0.weight"].clone())
    wanted = seen[0]
    for tensor in seen[1:]:
        wanted = (wanted + tensor) / 2
    with ema.applied():
        torch.testing.assert_close(net.state_dict()["0.weight"], wanted)
        state = net.state_dict()
        hidden = (X @ state["0.weight"][:4].T + state["0.bias"][:4]).relu()
        torch.testing.assert_close(net.select({"width 0": 4})(X), hidden @ state["2.weight"][:, :4].T + state["2.bias"])
    torch.testing.assert_close(net.state_dict()["0.weight"], seen[-1])


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.a(x).relu()
        return self.b(hidden) if x.sum() > 0 else self.c(hidden)


def test_a_branch_that_the_example_does_not_take_is_warned_about_and_stays() -> None:
    with pytest.warns(UserWarning, match=r"does not use 'c\.bias', 'c\.weight'.*Give an example"):
        net = elastic(Branches(), "width * : 0.5 1.0", torch.ones(1, 6))
    assert net.space.names == ("width a",)
    assert net.select(net.min())(torch.ones(1, 6)).shape == (1, 3)


def test_a_path_that_depends_on_data_and_is_taken_whole_is_not_warned_about() -> None:
    class Taken(Branches):
        def forward(self, x: Tensor) -> Tensor:
            hidden = self.a(x).relu()
            return self.b(hidden) + self.c(hidden) if x.sum() > 0 else self.c(hidden)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = elastic(Taken(), "width a : 2 8", torch.ones(1, 6))
    assert net.select(net.min())(-torch.ones(1, 6)).shape == (1, 3)
