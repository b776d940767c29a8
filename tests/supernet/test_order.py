"""order: the most important units first, the function as it was."""

import pytest
import torch
from torch import Tensor

from loomweight.errors import BadParameter
from loomweight.supernet import elastic, magnitude
from loomweight.weights.axes import Axes

from .families import FAMILIES, drawn

pytestmark = pytest.mark.filterwarnings("ignore:this subnet is evaluated with BatchNorm", "ignore:the config of the exported model cannot say")


@pytest.mark.parametrize("name", ["cnn", "resnet", "mobilenet", "encoder", "llama", "gpt2"])
@torch.no_grad()
def test_the_largest_subnet_stays_and_scores_fall(name: str) -> None:
    family = FAMILIES[name]
    net = elastic(family.made(), family.space, family.example, outputs=family.outputs, order=magnitude).eval()
    torch.testing.assert_close(family.run(net), family.run(family.made().eval()), rtol=1e-4, atol=1e-5)
    assert any(not torch.equal(tensor, family.made().state_dict()[key]) for key, tensor in net.state_dict().items())
    for space in net._made.spaces:
        scores = magnitude(net._made.axes, net.state_dict(), space)
        assert (scores.diff(dim=-1) <= 1e-4).all()
    net.export(net.min())
    assert net.difference < 1e-6


@torch.no_grad()
def test_a_prefix_of_important_units_is_what_a_list_of_indices_would_be() -> None:
    family = FAMILIES["cnn"]
    plain, net = family.made(), elastic(family.made(), "width 6 : 5 10", family.example, order=magnitude)
    score = plain[6].weight.abs().sum(1) + plain[7].weight.abs().sum(0)
    kept = score.topk(5).indices
    x = plain[:6](family.example)
    expected = (x @ plain[6].weight[kept].T + plain[6].bias[kept]) @ plain[7].weight[:, kept].T + plain[7].bias
    torch.testing.assert_close(net.select(net.min())(family.example), expected)


def test_scores_of_your_own() -> None:
    family = FAMILIES["cnn"]

    def backwards(axes: Axes, tensors: dict[str, Tensor], space: str) -> Tensor:
        return torch.arange(axes.spaces[space].size).float()

    net = elastic(family.made(), "width 6 : 5 10", family.example, order=backwards)
    assert torch.equal(net.state_dict()["6.bias"], family.made()[6].bias.flip(0))
    with pytest.raises(BadParameter, match=r"importance of the units of .* must have shape \(10,\), found \(3,\)"):
        elastic(family.made(), "width 6 : 5 10", family.example, order=lambda axes, tensors, space: drawn(3))
