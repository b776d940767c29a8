"""How bench/supernet_ranking.py trains its supernets: each method with as many passes (one subnet, one batch, forward and backward) as the others.

SGD with Nesterov momentum 0.9, weight decay 5e-4, a one-cycle rate, as the networks of the table were trained alone; batches of 64 and a peak rate of 0.05,
half of theirs. Where the gradients of several subnets add up, the peak rate is divided by their number, and there are so many times fewer steps.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from apart_models import Split, batches
from torch import Tensor, nn
from truth_spaces import Truth

from loomweight.search.space import Values
from loomweight.supernet import (
    AlphaDivergence,
    BalancedMixture,
    ByOperator,
    Elastic,
    ImportantData,
    ImportantPaths,
    Regions,
    Sampler,
    Sandwich,
    SinglePath,
    SoftLabels,
    Step,
    Stratified,
    SubnetOptimizer,
    elastic,
    few_shot,
    grouped,
    mixture_of_supernets,
    prefix,
)

BATCH, ALONE = 64, 128
loss_of = nn.functional.cross_entropy


class Among(Sampler):
    """Draws from a list, all alike: on the whole space this is `Uniform`."""

    def __init__(self, archs: Sequence[Values]) -> None:
        self.archs = archs

    def draw(self, net: Elastic, random: np.random.Generator, done: float) -> Values:
        """See the class."""
        return dict(self.archs[int(random.integers(len(self.archs)))])


@dataclass
class Run:
    """One supernet: what it is trained on, and how long.

    Args:
        truth: the space of the table.
        net: of its largest network.
        archs: every configuration of the table, by the fields of the net.
        train, held: images to train on, and those that subnets are scored on.
        seed: of the first weights, of the order of images, of the paths.
        passes: in all.
        look: called with the passes done, after a half of the steps; for the methods that are followed.
    """

    truth: Truth
    net: Elastic
    archs: list[Values]
    train: Split
    held: Split
    seed: int
    passes: int
    look: Callable[[int], None] | None = None


def begun(truth: Truth, data: tuple[Split, Split], seed: int, passes: int) -> Run:
    """Untrained."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = truth.largest().to(memory_format=torch.channels_last)
    net = elastic(model, truth.table, truth.example())
    return Run(truth, net, [net.space.canonical(truth.chosen(arch)) for arch in truth.architectures()], *data, seed, passes)


def endless(run: Run) -> Iterator[Split]:
    """Batches of epoch after epoch, full ones."""
    epoch = run.seed * 1000
    while True:
        yield from (batch for batch in batches(run.train, BATCH, epoch) if len(batch[1]) == BATCH)
        epoch += 1


def fit(run: Run, step: Step, passes: int, each: int = 1, feed: Iterator[Split] | None = None) -> None:
    """Train for so many passes, of which a step makes `each`."""
    peak, steps = run.truth.rate * BATCH / ALONE / each, passes // each
    optimizer = SubnetOptimizer(run.net, torch.optim.SGD(run.net.parameters(), peak, momentum=0.9, weight_decay=5e-4, nesterov=True))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer.inner, peak, total_steps=steps, pct_start=0.2)
    feed = feed or endless(run)
    for done in range(1, steps + 1):
        run.net.train()
        optimizer.zero_grad()
        step(run.net, *next(feed))
        optimizer.step()
        schedule.step()
        if run.look and done == steps // 2:
            run.look(done * each)


def single(run: Run, sampler: Sampler, passes: int | None = None, loss: Callable[[Any, Any], Tensor] = loss_of) -> SinglePath:
    """A step of one subnet."""
    total = (passes or run.passes) if sampler.uses_done else None
    return SinglePath(loss=loss, sampler=sampler, seed=run.seed, total=total)


def uniform(run: Run) -> None:
    """Single paths, every configuration as likely as the others."""
    fit(run, single(run, Among(run.archs)), run.passes)


def by_operator(run: Run) -> None:
    """Single paths, every option trained equally often."""
    fit(run, single(run, ByOperator()), run.passes)


def stratified(run: Run) -> None:
    """Single paths, small and large subnets alike."""
    fit(run, single(run, Stratified(6)), run.passes)


def important(run: Run) -> None:
    """PA&DA: paths and images by gradient norm."""
    size = len(run.train[1])
    data = ImportantData(size, max(1, run.passes * BATCH // size), run.seed)
    now: list[list[int]] = []

    def feed() -> Iterator[Split]:
        while True:
            order = list(data)
            for start in range(0, size - BATCH + 1, BATCH):
                now[:] = [order[start : start + BATCH]]
                yield run.train[0][now[0]], run.train[1][now[0]]

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        data.told(now[0], outputs, targets)
        return loss_of(outputs, targets)

    fit(run, single(run, ImportantPaths(every=size // BATCH), loss=loss), run.passes, feed=feed())


def sandwich(soft: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Run], None]:
    """The largest, the smallest and one drawn subnet a step; the two learn from the largest."""
    return lambda run: fit(run, Sandwich(loss=loss_of, sampler=Among(run.archs), subnets=1, soft=soft, seed=run.seed), run.passes, each=3)


def gradient_matching(run: Run) -> None:
    """Two splits: half of the passes before the first, a quarter between them, a quarter after; each region gets its share."""
    share = {1: run.passes // 2, 2: run.passes // 8, 4: run.passes // 16}

    def train(split: Regions, region: int) -> None:
        count = len(split.regions)
        inside = [arch for arch in run.archs if split.region(arch) == region]
        fit(run, single(run, Among(inside)), share[2 if count == 3 else count])

    some = [batch for batch, _ in zip(endless(run), range(4), strict=False)]
    made = few_shot(run.net, some, loss_of, levels=2, train=train)
    print("  regions: " + "; ".join(str(options) for options in made.regions), flush=True)
    for region in range(len(made.regions)):
        train(made, region)


def groups(run: Run) -> None:
    """Four groups of neighbours, weights of their own."""
    grouped(run.net, 4)
    uniform(run)


def own_rest(run: Run) -> None:
    """A shared prefix; the last stage and the scores have weights of their own for each of the 12 configurations of what comes before."""
    grouped(run.net, 12, shared=prefix(run.net, "stage2"))
    uniform(run)


def experts(run: Run) -> None:
    """Two experts a layer, mixed by a router that sees the configuration."""
    mixture_of_supernets(run.net, 2, noise=0.1, seed=run.seed)
    uniform(run)


def balanced(run: Run) -> None:
    """Two supernets; each configuration is drawn to the one in which it validates better."""
    random = np.random.default_rng(run.seed)

    def validate(net: Elastic) -> float:
        some = random.integers(len(run.held[1]), size=BATCH)
        with torch.no_grad():
            return float((net(run.held[0][some]).argmax(1) == run.held[1][some]).float().mean())

    mixture = BalancedMixture(run.net, validate, 2, among=run.archs)
    fit(run, single(run, mixture), run.passes)
    mixture.settled()


#: of which space, and the method; the first of each space is also followed along its training
METHODS: dict[str, dict[str, Callable[[Run], None]]] = {
    "blocks": {
        "single path, uniform": uniform,
        "single path, by operator": by_operator,
        "single path, stratified": stratified,
        "PA&DA": important,
        "sandwich, soft labels": sandwich(SoftLabels()),
        "sandwich, alpha-divergence": sandwich(AlphaDivergence()),
        "few-shot, gradient matching": gradient_matching,
        "4 groups": groups,
        "shared prefix, 12 rests": own_rest,
        "mixture of 2 experts": experts,
    },
    "pooling": {"single path, uniform": uniform, "balanced mixture of 2": balanced},
}
