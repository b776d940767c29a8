"""Clipping sees what the gradients of several subnets add up to, and nothing else."""

import pytest
import torch
from torch import Tensor, nn

from loomweight.errors import NonFinite
from loomweight.supernet import Elastic, SubnetOptimizer, elastic

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
TABLE = "width 0 : 2 4 8"


def net_and_optimizer() -> tuple[Elastic, SubnetOptimizer]:
    torch.manual_seed(0)
    net = elastic(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), TABLE, X)
    return net, SubnetOptimizer(net, torch.optim.SGD(net.parameters(), lr=1.0))


def backward(net: Elastic, widths: list[int]) -> None:
    for width in widths:
        net.select({"width 0": width})(X).square().sum().backward()


def gradients(widths: list[int]) -> dict[str, Tensor]:
    """By hand: the whole model with the units that are left out multiplied by 0."""
    net, _ = net_and_optimizer()
    plain = net.export(net.max())
    for width in widths:
        hidden = torch.relu(plain[0](X)) * (torch.arange(8) < width)  # type: ignore[index]
        plain[2](hidden).square().sum().backward()  # type: ignore[index]
    return {name: parameter.grad for name, parameter in plain.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("widths", [[2], [2, 4], [8, 2, 4]])
def test_the_norm_is_that_of_the_sum_and_the_step_is_scaled(widths: list[int]) -> None:
    net, optimizer = net_and_optimizer()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    backward(net, widths)
    expected = gradients(widths)
    norm = torch.stack([gradient.square().sum() for gradient in expected.values()]).sum().sqrt()
    assert optimizer.clip(0.5) == pytest.approx(norm.item(), rel=1e-5)  # float32 sums in another order
    optimizer.step()
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(before[name] - tensor, expected[name] * (0.5 / norm), atol=1e-5, rtol=1e-4)


def test_a_small_gradient_stays_as_it_is() -> None:
    net, optimizer = net_and_optimizer()
    backward(net, [2, 8])
    norm = optimizer.clip(1e6)
    assert optimizer.clip(1e6) == pytest.approx(norm)


def test_torchs_own_would_have_missed_it() -> None:
    net, _ = net_and_optimizer()
    backward(net, [2])
    assert nn.utils.clip_grad_norm_(net.parameters(), 1.0) < torch.stack([g.square().sum() for g in gradients([2]).values()]).sum().sqrt()


def test_a_norm_that_is_not_finite_is_told() -> None:
    net, optimizer = net_and_optimizer()
    (net.select(net.min())(X).sum() * float("inf")).backward()
    with pytest.raises(NonFinite, match="norm of the gradients is"):
        optimizer.clip(1.0)
