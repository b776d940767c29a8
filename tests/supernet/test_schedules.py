from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, interpolate, mse_loss

from loomweight.errors import BadParameter, UnknownName
from loomweight.supernet import (
    Delayed,
    ImportantPaths,
    ProgressiveDepth,
    Sampler,
    Sandwich,
    Shrinking,
    SinglePath,
    SoftLabels,
    SubnetOptimizer,
    Taught,
    Uniform,
    at_scale,
    elastic,
)

from .training import batch, gradients, mlp


class Fixed(Sampler):
    """Always the same subnet; counts how often it was asked."""

    def __init__(self, **values):
        self.values, self.asked = values, 0

    def draw(self, net, random, done):
        self.asked += 1
        return net.space.canonical({name.replace("_", " "): value for name, value in self.values.items()})


def test_subnets_wait_and_then_learn_by_epsilon():
    net, (x, y) = mlp(), batch()
    sampler = Fixed(width_0=4, width_3=3)

    def gradient(step) -> dict:
        net.zero_grad()
        step(net, x, y)
        return gradients(net)

    full = gradient(SinglePath(loss=cross_entropy, sampler=Fixed(width_0=8, width_3=6)))
    sandwich = gradient(Sandwich(loss=cross_entropy, sampler=Fixed(width_0=4, width_3=3)))
    step = Delayed(loss=cross_entropy, sampler=sampler, total=20, start=0.5, full=0.75, low=0.2)
    for count, epsilon in ((0, 0.0), (9, 0.0), (10, 0.2), (12, 0.52), (15, 1.0), (19, 1.0)):
        step.count = count
        found = gradient(step)
        for name in full:
            torch.testing.assert_close(found[name], full[name] + epsilon * (sandwich[name] - full[name]), rtol=1e-4, atol=1e-6)
        if epsilon == 0:
            assert sampler.asked == 0


def test_with_sgd_epsilon_is_the_learning_rate_of_the_smaller_subnets():
    """Entries that the largest subnet does not train here (its loss is 0) move by lr * epsilon * gradient."""
    moved = []
    for count in (10, 12):
        net, (x, y) = mlp(), batch()
        before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        optimizer = SubnetOptimizer(net, torch.optim.SGD(net.parameters(), lr=0.5))
        step = Delayed(loss=lambda out, y: out.sum() * 0, sampler=Uniform(), total=20, full=0.75, low=0.2)
        step.count = count
        step(net, x, y)
        optimizer.step()
        moved.append({name: tensor - before[name] for name, tensor in net.state_dict().items()})
    for name in moved[0]:
        torch.testing.assert_close(moved[0][name] * 0.52 / 0.2, moved[1][name], rtol=1e-3, atol=1e-6)


def test_fields_open_one_after_the_other_largest_options_first():
    net = mlp(space="width 0 : 2 4 8\nwidth 3 : 2 3 6")
    sampler = Shrinking([(0.25, {}), (0.5, {"width 3": None}), (0.75, {"width 0": 2}), (1.0, {"width 0": None})])
    random = np.random.default_rng(0)

    def seen(done: float) -> tuple[set, set]:
        drawn = [sampler.draw(net, random, done) for _ in range(60)]
        return {one["width 0"] for one in drawn}, {one["width 3"] for one in drawn}

    assert seen(0.1) == ({8}, {6})
    assert seen(0.25) == ({8}, {2, 3, 6})
    assert seen(0.5) == ({4, 8}, {2, 3, 6})
    assert seen(1.0) == ({2, 4, 8}, {2, 3, 6})


def test_a_fixed_teacher_adds_its_part():
    net, (x, y) = mlp(), batch()
    teacher = nn.Linear(5, 3)
    Taught(loss=cross_entropy, sampler=Fixed(width_0=4, width_3=3), teacher=teacher, ratio=0.5)(net, x, y)
    found = gradients(net)
    net.zero_grad()
    out = net.select({"width 0": 4, "width 3": 3})(x)
    (cross_entropy(out, y) + 0.5 * SoftLabels()(out, teacher(x).detach())).backward()
    for name, gradient in gradients(net).items():
        torch.testing.assert_close(found[name], gradient)
    assert teacher.weight.grad is None


class NextScale(nn.Module):
    """The image of a scale from the one before it, enlarged: residual blocks on 8 x 8 pixels, and the scale's number as an input."""

    def __init__(self):
        super().__init__()
        self.start = nn.Linear(64 + 1, 24)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 24)) for _ in range(4)])
        self.end = nn.Linear(24, 64)

    def forward(self, coarse, scale):
        x = torch.tanh(self.start(torch.cat([coarse, scale], 1)))
        for block in self.blocks:
            x = x + block(x)
        return self.end(x)


def scales(images, _targets):
    sizes = (1, 2, 4, 8)
    seen = [interpolate(interpolate(images, (size, size), mode="area"), (8, 8), mode="nearest").flatten(1) for size in sizes]
    before = [torch.zeros_like(seen[0]), *seen[:-1]]
    return [((coarse, torch.full((len(images), 1), float(number))), wanted) for number, (coarse, wanted) in enumerate(zip(before, seen, strict=True))]


def generator():
    torch.manual_seed(0)
    return elastic(NextScale(), "depth blocks : 1 2 4 spread", (torch.zeros(2, 64), torch.zeros(2, 1)))


def images(count: int = 24) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    grid = torch.linspace(-2, 2, 8)
    centres = torch.rand(count, 2, generator=random) * 2 - 1
    return torch.exp(-((grid[None, :, None] - centres[:, 0, None, None]) ** 2) - (grid[None, None, :] - centres[:, 1, None, None]) ** 2)[:, None]


class Watched:
    def __init__(self, net):
        self.net, self.seen = net, []
        net.model.register_forward_pre_hook(lambda module, inputs: self.seen.append((int(inputs[1][0, 0]), net.active["depth blocks"])))


def test_early_scales_run_at_full_depth_and_late_ones_with_a_subnet():
    net = generator()
    watched = Watched(net)
    step = ProgressiveDepth(loss=mse_loss, sampler=Fixed(depth_blocks=2), total=10, scales=scales, early=2, shares=(1.0, 1.0))
    step(net, images(), None)
    assert watched.seen == [(0, 4), (1, 4), (2, 2), (3, 2)]
    kept = net.select({"depth blocks": 2}).model.blocks
    assert [kept[0] is net.select(net.max()).model.blocks[0], kept[1] is net.model.blocks[3]] == [True, True]


def test_the_share_of_subnet_steps_grows():
    net = generator()
    watched = Watched(net)
    step = ProgressiveDepth(loss=mse_loss, sampler=Fixed(depth_blocks=1), total=90, scales=scales, early=3, shares=(0.3, 1.0), phases=(1 / 3, 2 / 3))
    for _ in range(90):
        step(net, images(2), None)
    last = [depth == 1 for scale, depth in watched.seen if scale == 3]
    thirds = [sum(last[i : i + 30]) for i in (0, 30, 60)]
    assert 4 <= thirds[0] <= 14
    assert thirds[0] < thirds[1] < 30
    assert thirds[2] == 30
    assert all(depth == 4 for scale, depth in watched.seen if scale < 3)


def test_a_generator_learns_at_every_depth():
    net, x = generator(), images()
    optimizer = SubnetOptimizer(net, torch.optim.Adam(net.parameters(), lr=1e-2))
    step = ProgressiveDepth(loss=mse_loss, sampler=Uniform(), total=60, scales=scales, early=2)

    def errors() -> list[float]:
        found = []
        with torch.no_grad():
            for depth in (1, 2, 4):
                parts = enumerate(scales(x, None))
                values = [(at_scale(net, {"depth blocks": depth}, k, 2), seen, wanted) for k, (seen, wanted) in parts]
                found.append(sum(float(mse_loss(net.select(one)(*seen), wanted)) for one, seen, wanted in values))
        return found

    before = errors()
    for _ in range(60):
        optimizer.zero_grad()
        step(net, x, None)
        optimizer.step()
    assert all(after < 0.35 * first for after, first in zip(errors(), before, strict=True))


def test_depths_are_drawn_by_the_sampler():
    net = generator()
    watched = Watched(net)
    step = ProgressiveDepth(loss=mse_loss, sampler=Uniform(), total=60, scales=scales, early=1, shares=(1.0, 1.0))
    for _ in range(60):
        step(net, images(2), None)
    assert min(Counter(depth for scale, depth in watched.seen if scale == 3).values()) > 8


COMMON = {"loss": cross_entropy, "sampler": Uniform()}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Delayed(**COMMON), "give `total`"),
        (lambda: Delayed(**COMMON, total=9, start=0.8), "found start=0.8, full=0.75"),
        (lambda: Delayed(**COMMON, total=9, low=0.0), "low=0.0"),
        (lambda: Taught(**COMMON, teacher=nn.Linear(5, 3), ratio=0.0), "positive, found 0.0"),
        (lambda: Shrinking([(0.5, {})]), r"the last one at 1; found \[0.5\]"),
        (lambda: Shrinking([(0.5, {}), (0.5, {"a": 1}), (1.0, {"a": 2})]), r"found \[0.5, 0.5, 1.0\]"),
        (lambda: Shrinking([(0.5, {}), (1.0, {})]), "opens no field"),
        (lambda: Shrinking([(1.0, {"a": 0})]), "found 0 options"),
        (lambda: Shrinking([(1.0, {"kernel *": 2})]).open(mlp(), 0.0), r"phase 1 opens 'kernel \*', which names no field; there are: width 0, width 3"),
        (lambda: SinglePath(loss=cross_entropy, sampler=Shrinking([(1.0, {"width 0": 2})])), "give `total`"),
        (lambda: ProgressiveDepth(**COMMON, total=9, scales=scales, early=0), "found early=0"),
        (lambda: ProgressiveDepth(**COMMON, total=9, scales=scales, early=1, shares=(1.0, 0.5)), r"found shares=\(1.0, 0.5\)"),
        (lambda: ProgressiveDepth(**COMMON, total=9, scales=scales, early=4)(generator(), images(2), None), "early=4 of 4 scales"),
        (lambda: ProgressiveDepth(loss=mse_loss, sampler=ImportantPaths(1), total=9, scales=scales, early=1), "one subnet"),
    ],
)
def test_bad_schedules_are_refused(make, message):
    with pytest.raises((BadParameter, UnknownName), match=message):
        make()
