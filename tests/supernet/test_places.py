"""places: the pooling positions of Balanced Mixture of SuperNets."""

import pytest
import torch
from torch import Tensor, nn

from loomweight.errors import BadParameter
from loomweight.supernet import elastic

X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.short = nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1), nn.Conv2d(4, 4, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return (self.conv2(self.conv1(x).relu()) + self.short(x)).relu()


def blocks() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(Block(), Block(), Block(), Block()), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


def test_every_set_of_two_places_is_the_network_with_these_strides() -> None:
    net = elastic(blocks(), "places 1.* : 2", X)
    assert [values["places 1.*"] for values in net.space.enumerate()] == ["0+1", "0+2", "0+3", "1+2", "1+3", "2+3"]
    for values in net.space.enumerate():
        by_hand = blocks()
        for i, block in enumerate(by_hand[1]):
            if str(i) not in values["places 1.*"].split("+"):
                block.conv1.stride = block.short.stride = (1, 1)
        assert torch.equal(net.export(values)(X), by_hand(X))
        assert torch.equal(net.select(values)(X), by_hand(X))


def test_later_places_cost_more() -> None:
    net = elastic(blocks(), "places 1.* : 2", X)
    assert net.cost(net.min()).flops < net.cost({"places 1.*": "1+2"}).flops < net.cost(net.max()).flops
    assert net.cost(net.min()).params == net.cost(net.max()).params


def test_pooling_that_is_not_chosen_does_nothing() -> None:
    model = nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(3, 2, 1))
    net = elastic(model, "places * : 0 1 2", X)
    assert [values["places *"] for values in net.space.enumerate()] == ["none", "0", "1", "0+1"]
    sizes = [net.select(values)(X).shape[-1] for values in net.space.enumerate()]
    assert sizes == [16, 8, 8, 4]
    torch.testing.assert_close(net.select({"places *": "none"})(X), model[3](X.relu()))


def test_bad_places() -> None:
    with pytest.raises(BadParameter, match=r"4 places match \(1.0, 1.1, 1.2, 1.3\); say how many of them, 0 to 4; found 5"):
        elastic(blocks(), "places 1.* : 5", X)
    with pytest.raises(BadParameter, match="found 'two'"):
        elastic(blocks(), "places 1.* : two", X)
