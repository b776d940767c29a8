import pytest
import torch
from torch import nn

from loomweight.errors import BadParameter
from loomweight.supernet import elastic, zero_residuals


class Basic(nn.Module):
    """A residual block of ResNets: the shortcut has a convolution and a norm where it changes the number of channels."""

    def __init__(self, before: int, after: int, in_place: bool):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = nn.Conv2d(after, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)
        self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after)) if before != after else nn.Identity()
        self.in_place = in_place

    def forward(self, x):
        out = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.in_place:
            out += self.shortcut(x)
        else:
            out = self.shortcut(x) + out
        return torch.relu(out)


def resnet(in_place: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    blocks = [Basic(4, 4, in_place), Basic(4, 8, in_place)]
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))


@pytest.mark.parametrize("in_place", [True, False])
def test_last_norms_of_blocks_and_not_those_of_shortcuts(in_place):
    model, x = resnet(in_place), torch.randn(2, 3, 8, 8)
    model.train()
    statistics = model[1].running_mean.clone()
    assert zero_residuals(model, x) == ["2.bn2", "3.bn2"]
    assert model.training
    assert torch.equal(model[1].running_mean, statistics)
    model.eval()
    entry = model[1](model[0](x))
    torch.testing.assert_close(model[2](entry), torch.relu(entry))
    torch.testing.assert_close(model[3](entry), torch.relu(model[3].shortcut(entry)))


def test_all_depths_of_a_supernet_are_one_network_at_first():
    class Deep(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([Basic(4, 4, in_place=False) for _ in range(3)])

        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return x

    x = torch.rand(2, 4, 6, 6)
    model = Deep().eval()
    different = elastic(Deep().eval(), "depth blocks : 1 2 3", x)
    assert len(zero_residuals(model, x)) == 3
    net = elastic(model, "depth blocks : 1 2 3", x)
    torch.testing.assert_close(net.select(net.max())(x), net.select(net.min())(x))
    assert not torch.allclose(different.select(different.max())(x), different.select(different.min())(x))


def test_transformers_whose_norms_follow_the_sum_are_refused():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)
    with pytest.raises(BadParameter, match="no norm with a scale ends a residual branch"):
        zero_residuals(layer, torch.zeros(1, 3, 8))


def test_norms_without_a_scale_are_left_out():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.norm = nn.Linear(4, 4), nn.LayerNorm(4, elementwise_affine=False)

        def forward(self, x):
            return x + self.norm(self.linear(x))

    with pytest.raises(BadParameter, match="no norm with a scale"):
        zero_residuals(Bare(), torch.zeros(1, 4))
