"""kernel with `transforms`: Once-for-All's learned 7 -> 5 -> 3."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from loomweight.errors import BadParameter
from loomweight.supernet import Elastic, SubnetOptimizer, elastic

X = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(1))


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 7, padding=3), nn.ReLU(), nn.Conv2d(4, 4, 5, padding=2, groups=4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )


def made(space: str = "kernel 0 : 3 5 7 transforms\nwidth 0 : 2 4") -> Elastic:
    net = elastic(model(), space, X)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, tensor in net.named_parameters():
            if "to" in name:
                tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
    return net


def by_hand(state: dict[str, Tensor], size: int, width: int) -> Tensor:
    """As the authors' dynamic layer does it: crop, flatten the window, a linear map over it, one step after the other."""
    kernel = state["0.weight"][:width]
    for larger, smaller in ((7, 5), (5, 3)):
        if size < larger:
            begin = (larger - smaller) // 2
            crop = kernel[:, :, begin : begin + smaller, begin : begin + smaller].reshape(width, 3, -1)
            kernel = functional.linear(crop, state[f"0.weight.{larger}to{smaller}"]).view(width, 3, smaller, smaller)
    return kernel


@pytest.mark.parametrize("size", [3, 5, 7])
@pytest.mark.parametrize("width", [2, 4])
def test_kernels_are_the_authors(size: int, width: int) -> None:
    net = made()
    plain = net.export({"kernel 0": size, "width 0": width})
    torch.testing.assert_close(plain[0].weight, by_hand(net.state_dict(), size, width))
    assert plain[0].padding == (size // 2,) * 2
    assert plain(X).shape == (2, 2)


def test_matrices_start_as_identities_and_are_parameters() -> None:
    net = elastic(model(), "kernel 0 : 3 5 7 transforms\nkernel 2 : 3 5 transforms", X)
    shapes = {name: tuple(tensor.shape) for name, tensor in net.named_parameters() if "to" in name}
    assert shapes == {"0.weight.7to5": (25, 25), "0.weight.5to3": (9, 9), "2.weight.5to3": (9, 9)}
    plain = elastic(model(), "kernel 0 : 3 5 7\nkernel 2 : 3 5", X)
    for values in net.space.enumerate():
        assert torch.equal(net.export(values)(X), plain.export(values)(X))
    again = elastic(model(), "kernel 0 : 3 5 7 transforms\nkernel 2 : 3 5 transforms", X)
    again.load_state_dict(made("kernel 0 : 3 5 7 transforms\nkernel 2 : 3 5 transforms").state_dict())
    assert not torch.equal(again.state_dict()["0.weight.7to5"], net.state_dict()["0.weight.7to5"])


def test_a_step_moves_the_matrices_in_use_and_the_middle_alone() -> None:
    net = made()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    optimizer = SubnetOptimizer(net, torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.1))
    net.select({"kernel 0": 5, "width 0": 2})(X).square().sum().backward()
    optimizer.step()
    after = net.state_dict()
    assert (after["0.weight.7to5"] != before["0.weight.7to5"]).all()
    assert torch.equal(after["0.weight.5to3"], before["0.weight.5to3"])
    moved = after["0.weight"] != before["0.weight"]
    assert moved[:2, :, 1:-1, 1:-1].all()
    assert moved.sum() == 2 * 3 * 25


def test_a_word_that_has_no_effect_is_refused() -> None:
    with pytest.raises(BadParameter, match="`width 0` says 'transforms', which is of kernel"):
        elastic(model(), "width 0 : 2 4 transforms", X)
    with pytest.raises(BadParameter, match="`kernel 0` says 'spread', which is of depth"):
        elastic(model(), "kernel 0 : 5 7 spread", X)
