"""Units that may be exchanged but not multiplied: a bias that others share, numbers that are rounded."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from loomweight.edits import Rescale
from loomweight.weights import from_module
from loomweight.weights.axes import axes


class Grid(nn.Module):
    """Six units at each of four places, and a function of the net and its input."""

    def __init__(self, run: Callable[["Grid", Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.tokens, self.b, self.run = nn.Linear(3, 6), nn.Linear(4, 5), nn.Linear(6, 2), run
        self.each, self.whole = nn.Conv1d(1, 1, 3, padding=1), nn.Conv1d(6, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def one_bias_for_all_units(net: Grid, x: Tensor) -> Tensor:
    return net.b(net.tokens(net.a(x).transpose(1, 2)).relu().transpose(1, 2))


def one_filter_for_all_units(net: Grid, x: Tensor) -> Tensor:
    units = net.a(x).transpose(1, 2)
    return net.b(net.each(units.reshape(-1, 1, 4)).relu().reshape(-1, 6, 4).transpose(1, 2))


def one_sum_for_all_units(net: Grid, x: Tensor) -> Tensor:
    return net.b(torch.addmm(net.tokens.bias, net.a(x[0]).T, net.tokens.weight.T).relu().T)


def whole_numbers(net: Grid, x: Tensor) -> Tensor:
    return net.b((10 * net.a(x)).to(torch.int64).to(x.dtype))


def a_bias_for_each_unit(net: Grid, x: Tensor) -> Tensor:
    return net.b(functional.relu(net.a(x)))


@pytest.mark.parametrize("run", [one_bias_for_all_units, one_filter_for_all_units, one_sum_for_all_units, whole_numbers])
def test_units_are_free_but_do_not_scale(run: Callable[[Grid, Tensor], Tensor]) -> None:
    table = axes(Grid(run), torch.randn(2, 4, 3))
    (space,) = {factor for term in table.layouts["a.bias"].axes[0] for factor in term}
    assert isinstance(space, str) and not table.spaces[space].scales


@pytest.mark.parametrize("run", [a_bias_for_each_unit, one_bias_for_all_units, one_filter_for_all_units, one_sum_for_all_units, whole_numbers])
def test_what_scales_keeps_the_function(run: Callable[[Grid, Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    net, x = Grid(run).double(), torch.randn(2, 4, 3).double()
    table, before = axes(net, x), net(x)
    factors = {name: 0.5 + torch.rand(space.size).double() for name, space in table.spaces.items() if space.scales}
    net.load_state_dict(dict(Rescale.by(table, factors)(from_module(net))))
    torch.testing.assert_close(net(x), before)
