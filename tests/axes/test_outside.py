"""What a trace does not see by itself: outputs in objects, data used past it, lists written to, shapes that data decide."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from loomweight.errors import BadParameter
from loomweight.weights import Weights
from loomweight.weights.axes import axes, table_for, verify


@dataclass
class Answer:
    logits: Tensor
    hidden: Tensor


class Net(nn.Module):
    """Two layers of six units between, and a function of the net and its input."""

    def __init__(self, run: Callable[["Net", Tensor], Any]) -> None:
        super().__init__()
        self.a, self.c, self.b, self.run = nn.Linear(3, 6), nn.Linear(3, 6), nn.Linear(6, 2), run

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


def in_a_data_class(net: Net, x: Tensor) -> Answer:
    return Answer(net.b(net.a(x).relu()), net.a(x))


def in_an_object(net: Net, x: Tensor) -> Any:
    return SimpleNamespace(logits=net.b(net.a(x)), hidden=[net.a(x)])


def data_of_a_weight(net: Net, x: Tensor) -> Tensor:
    return net.b(net.a(x)) + net.a.weight.data[0, :2]


def a_list_written_to(net: Net, x: Tensor) -> Tensor:
    if x.sum() > 1e9:
        return x
    first, second = net.a(x), net.c(x)
    torch._foreach_add_([first], [second])  # type: ignore[reportPrivateImportUsage]
    return net.b(first.relu()) + second.cumsum(1)[:, :2]


def written_to_out(net: Net, x: Tensor) -> Tensor:
    if x.sum() > 1e9:
        return x
    held = torch.zeros(len(x), 6, dtype=x.dtype)
    with torch.no_grad():
        torch.add(net.a(x).detach(), net.c(x).detach().flip(1), out=held)
    return net.b(held)


def as_many_as_are_positive(net: Net, x: Tensor) -> Tensor:
    hidden = net.a(x)
    return net.b(hidden) + hidden[hidden > 0].cumsum(0).sum()


@pytest.mark.parametrize("run", [in_a_data_class, in_an_object, data_of_a_weight, a_list_written_to, written_to_out, as_many_as_are_positive])
def test_units_that_show_elsewhere_stay(run: Callable[[Net, Tensor], Any]) -> None:
    torch.manual_seed(0)
    net, x = Net(run), torch.randn(5, 3)
    table = axes(net, x)
    assert all(isinstance(factor, int) for axis in table.layouts["a.weight"].axes for term in axis for factor in term)
    assert max(verify(table, net, x).values()) < 1e-10


def test_an_output_without_tensors_is_named() -> None:
    net = Net(lambda net, x: None)
    with pytest.raises(BadParameter, match="no tensor was found in the model's output, a NoneType"):
        verify(axes(net, torch.ones(1, 3)), net, torch.ones(1, 3))


def test_wrong_lines_of_a_new_model_show_although_its_norms_are_constant() -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    forgotten = table_for("0.weight : hidden <- 3\n0.bias : hidden\n1.* : ...\n3.weight : 2 <- hidden\n3.bias : 2", Weights.of(dict(model.state_dict())))
    with pytest.raises(BadParameter, match="the axes table is wrong: exchanging the units of 'hidden'"):
        verify(forgotten, model, torch.randn(5, 3))


def test_places_of_units_in_the_output_are_compared_too() -> None:
    net = Net(lambda net, x: net.a(x).argmax(1))
    text = "a.weight : hidden <- 3\na.bias : hidden\nb.* : ...\nc.* : ..."
    with pytest.raises(BadParameter, match="the axes table is wrong"):
        verify(table_for(text, Weights.of(dict(net.state_dict()))), net, torch.randn(40, 3))


def test_the_tracer_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    axes(Net(lambda net, x: net.b(net.a(x)) if x.sum() > 0 else net.b(net.c(x))), torch.ones(1, 3))
    with pytest.raises(BadParameter, match="does not run on the example inputs"):
        axes(Net(lambda net, x: net.b(net.a(x))), torch.ones(1, 4))
    assert capfd.readouterr() == ("", "")
