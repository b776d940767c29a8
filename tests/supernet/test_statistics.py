"""BatchNorm of subnets: computed when first evaluated, kept, computed anew when weights change, warned about once otherwise."""

import warnings

import pytest
import torch
from torch import Tensor, nn

from loomweight.errors import BadParameter
from loomweight.supernet import Elastic, SubnetOptimizer, elastic

from .families import FAMILIES, drawn

BATCHES = [drawn(4, 3, 8, 8), drawn(4, 3, 8, 8) * 2 + 1, drawn(4, 3, 8, 8) - 3]


def made() -> Elastic:
    family = FAMILIES["resnet"]
    return elastic(family.made(), "width stem : 4 8\nwidth stage1.* : 3 6 tied\ndepth stage1 : 1 3", family.example).eval()


class Counting:
    """How often the stem runs."""

    def __init__(self, net: Elastic) -> None:
        self.count = 0
        with net.entire() as whole:
            whole.stem.register_forward_hook(self)

    def __call__(self, *given: object) -> None:
        self.count += 1


def by_hand(net: Elastic, values: dict[str, object]) -> nn.Module:
    """An exported subnet whose layers averaged each batch's mean and unbiased variance."""
    plain = net.export(values)
    layers = [layer for layer in plain.modules() if isinstance(layer, nn.BatchNorm2d)]
    seen: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {layer: [] for layer in layers}
    hooks = [layer.register_forward_pre_hook(lambda layer, x: seen[layer].append((x[0].mean((0, 2, 3)), x[0].var((0, 2, 3))))) for layer in layers]
    plain.train()
    with torch.no_grad():
        for batch in BATCHES:
            plain(batch)
    for hook in hooks:
        hook.remove()
    for layer in layers:
        layer.running_mean = torch.stack([mean for mean, _ in seen[layer]]).mean(0)
        layer.running_var = torch.stack([var for _, var in seen[layer]]).mean(0)
    return plain.eval()


@torch.no_grad()
def test_statistics_are_those_of_a_computation_by_hand() -> None:
    net = made()
    net.calibrate(BATCHES)
    for values in net.space.enumerate():
        expected = by_hand(net, values)
        torch.testing.assert_close(net.select(values)(BATCHES[0]), expected(BATCHES[0]), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(net.export(values)(BATCHES[0]), expected(BATCHES[0]), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_statistics_are_computed_once_for_each_subnet() -> None:
    net = made()
    counting = Counting(net)
    net.calibrate((batch, "labels") for batch in BATCHES)
    assert counting.count == 0
    for values in (net.min(), net.min(), net.max(), net.min()):
        net.select(values)(BATCHES[0])
    assert counting.count == 2 * len(BATCHES) + 4
    net.calibrate(BATCHES, count=1)
    net.select(net.min())(BATCHES[0])
    assert counting.count == 2 * len(BATCHES) + 4 + 2


def test_statistics_are_computed_anew_when_weights_change() -> None:
    net = made()
    net.calibrate(BATCHES)
    net.select(net.min())
    optimizer = SubnetOptimizer(net, torch.optim.SGD(net.parameters(), lr=0.1))
    with torch.no_grad():
        net(BATCHES[0])
    net.train()
    net(BATCHES[1]).square().mean().backward()
    optimizer.step()
    net.eval()
    with torch.no_grad():
        torch.testing.assert_close(net(BATCHES[0]), by_hand(net, net.min())(BATCHES[0]), rtol=1e-4, atol=1e-5)
        other = {name: tensor * 1.5 for name, tensor in net.state_dict().items()}
        net.load_state_dict(other)
        torch.testing.assert_close(net(BATCHES[0]), by_hand(net, net.min())(BATCHES[0]), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_evaluation_leaves_the_shared_statistics_that_training_writes() -> None:
    net = made()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.calibrate(BATCHES)
    for values in net.space.enumerate():
        net.select(values)(BATCHES[0])
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    net.train()
    net.select(net.min())(BATCHES[1])
    after = net.state_dict()
    assert (after["norm.running_mean"][:4] != before["norm.running_mean"][:4]).all()
    assert torch.equal(after["norm.running_mean"][4:], before["norm.running_mean"][4:])


@torch.no_grad()
def test_a_move_forgets_statistics_of_the_other_type() -> None:
    net = made()
    net.calibrate([batch.double() for batch in BATCHES])
    net.double().select(net.min())(BATCHES[0].double())
    net.calibrate(BATCHES)
    assert net.float()(BATCHES[0]).dtype == torch.float32


@torch.no_grad()
def test_a_subnet_without_statistics_is_warned_about_once() -> None:
    net = made()
    with pytest.warns(UserWarning, match=r"BatchNorm statistics that are not its own; give batches to `net.calibrate\(batches\)`"):
        net.select(net.min())(BATCHES[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.select(net.min())(BATCHES[0])
        net.select(net.max())(BATCHES[0])
        net.train()
        net.select(net.sample(1))(BATCHES[0])
    with pytest.raises(BadParameter, match="no batch to compute BatchNorm statistics from"):
        net.calibrate([])
