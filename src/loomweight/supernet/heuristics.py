"""How a supernet is trained, as options, each scored by how well the supernet then ranks its subnets.

Paper: How to Train Your Super-Net: An Analysis of Training Heuristics in Weight-Sharing NAS (2020, https://arxiv.org/abs/2003.04276): path sampling,
BatchNorm statistics, learning rate, epochs, weight decay and low-fidelity estimates, judged by the sparse Kendall correlation between the accuracy of
subnets with shared weights and that of networks trained alone.

We differ: which weights are shared is a matter of the elastic model that is built, so that it is varied by `build`.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import BadParameter, unknown
from ..evaluate import kendall, sparse_kendall
from .elastic import Elastic, Values
from .optimizer import SubnetOptimizer
from .sampler import Sampler
from .samplers.uniform import Uniform
from .steps.single_path import SinglePath


@dataclass(frozen=True)
class Recipe:
    """How one supernet is trained, by single paths and SGD with a rate that falls to 0 by a cosine.

    Part of: heuristics.

    Args:
        sampler: makes the sampler of paths; a class will do.
        subnets: drawn for each batch.
        rate, momentum, decay: of SGD.
        epochs: over the data that is used.
        batch: examples in a batch.
        data: the share of the training data that is used, a low-fidelity estimate below 1.
        statistics: of BatchNorm when subnets are scored: "own", computed for each of them; "shared", the running ones of the training.

    Raises:
        BadParameter: a number is out of its range.
    """

    sampler: Callable[[], Sampler] = Uniform
    subnets: int = 1
    rate: float = 0.1
    momentum: float = 0.9
    decay: float = 0.0
    epochs: int = 10
    batch: int = 32
    data: float = 1.0
    statistics: str = "own"

    def __post_init__(self) -> None:
        if not (self.rate >= 0 and 0 <= self.momentum < 1 and self.decay >= 0 and self.epochs >= 1 and self.batch >= 1 and 0 < self.data <= 1):
            raise BadParameter(f"rate and decay are at least 0, momentum in [0, 1), epochs and batch at least 1, data in (0, 1]; found {self}.")
        if self.statistics not in ("own", "shared"):
            raise BadParameter(f"statistics is 'own' or 'shared', found {self.statistics!r}.")


@dataclass(frozen=True)
class Scored:
    """One recipe, by what its supernets say of the networks; a number for each seed.

    Part of: heuristics.

    Args:
        name: of the recipe.
        recipe: None for the baseline, the number of parameters.
        sparse: sparse Kendall correlation with the accuracy of networks trained alone.
        full: Kendall's tau.
        score: mean score of the subnets with shared weights.
    """

    name: str
    recipe: Recipe | None
    sparse: tuple[float, ...]
    full: tuple[float, ...] = ()
    score: tuple[float, ...] = ()

    @property
    def mean(self) -> float:
        """Mean sparse Kendall correlation over seeds."""
        return float(np.mean(self.sparse))


@dataclass(frozen=True)
class ScoredRecipes:
    """Recipes and the baseline, best first; as text a table.

    Part of: heuristics.
    """

    rows: tuple[Scored, ...] = field(default_factory=tuple)

    def __getitem__(self, name: str) -> Scored:
        """A row by its name."""
        found = {row.name: row for row in self.rows}
        if name not in found:
            raise unknown("recipe", name, found)
        return found[name]

    def __str__(self) -> str:
        width = max(len(row.name) for row in self.rows)
        lines = [f"{'recipe':<{width}}  sparse Kendall  spread  tau     mean score"]
        for row in self.rows:
            rest = f"{np.mean(row.full):+.3f}  {np.mean(row.score):.4f}" if row.full and row.score else f"{np.mean(row.full):+.3f}"
            lines.append(f"{row.name:<{width}}  {row.mean:+.3f}          {np.std(row.sparse):.3f}   {rest}")
        return "\n".join(lines)


def varied(base: Recipe, **options: Sequence[Any]) -> dict[str, Recipe]:
    """The base, and recipes that differ from it in one option each.

    Part of: heuristics.

    Raises:
        UnknownName: no such option.

    >>> list(varied(Recipe(), rate=[0.01, 0.1], data=[0.5]))
    ['base', 'rate=0.01', 'data=0.5']
    """
    names = [one.name for one in fields(base)]
    found = {"base": base}
    for option, values in options.items():
        if option not in names:
            raise unknown("option of a recipe", option, names)
        for value in values:
            if value != getattr(base, option):
                found[f"{option}={getattr(value, '__name__', value)}"] = replace(base, **{option: value})
    return found


def heuristics(
    build: Callable[[int], Elastic],
    data: tuple[Tensor, Tensor],
    held_out: tuple[Tensor, Tensor],
    truth: Sequence[tuple[Mapping[str, Any], float]],
    recipes: Mapping[str, Recipe],
    *,
    noise: float,
    seeds: Iterable[int] = (0,),
) -> ScoredRecipes:
    """Train a supernet by each recipe and from each seed, and compare its ranking with the truth.

    Args:
        build: seed -> a new elastic model, a classifier.
        data: inputs and labels to train on.
        held_out: inputs and labels by which subnets are scored, their share of right answers.
        truth: configurations, and the accuracy of each when trained alone, on the scale of `noise`.
        recipes: by name, for instance `varied(...)`.
        noise: differences of the truth below this step do not count (`sparse_kendall`).
        seeds: of weights, paths and the order of data.

    Returns:
        A table, best first; the row "parameters" is the ranking by the number of parameters, which a supernet should beat.

    Raises:
        BadParameter, TooFewSets: as for `sparse_kendall`.
    """
    accuracies = [accuracy for _, accuracy in truth]
    seeds = tuple(seeds)
    rows = []
    for name, recipe in recipes.items():
        scores = [_scores(trained(build(seed), data, recipe, seed), data, held_out, [values for values, _ in truth], recipe) for seed in seeds]
        sparse, full = ([measure(one) for one in scores] for measure in _measures(accuracies, noise))
        rows.append(Scored(name, recipe, tuple(sparse), tuple(full), tuple(float(np.mean(one)) for one in scores)))
    net = build(seeds[0])
    params = [float(net.cost(values).params) for values, _ in truth]
    sparse, full = (measure(params) for measure in _measures(accuracies, noise))
    rows.append(Scored("parameters", None, (sparse,), (full,)))
    return ScoredRecipes(tuple(sorted(rows, key=lambda row: -row.mean)))


def trained(net: Elastic, data: tuple[Tensor, Tensor], recipe: Recipe, seed: int) -> Elastic:
    """The elastic model, trained by a recipe."""
    order = torch.Generator().manual_seed(seed)
    inputs, labels = data
    kept = torch.randperm(len(inputs), generator=order)[: max(1, round(recipe.data * len(inputs)))]
    total = recipe.epochs * -(-len(kept) // recipe.batch)
    sampler = recipe.sampler()
    step = SinglePath(loss=torch.nn.functional.cross_entropy, sampler=sampler, subnets=recipe.subnets, seed=seed, total=total if sampler.uses_done else None)
    optimizer = SubnetOptimizer(net, torch.optim.SGD(net.parameters(), recipe.rate, momentum=recipe.momentum, weight_decay=recipe.decay))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer.inner, total)
    net.train()
    for _ in range(recipe.epochs):
        for chosen in kept[torch.randperm(len(kept), generator=order)].split(recipe.batch):
            optimizer.zero_grad()
            step(net, inputs[chosen], labels[chosen])
            optimizer.step()
            schedule.step()
    return net


def _scores(net: Elastic, data: tuple[Tensor, Tensor], held_out: tuple[Tensor, Tensor], values: Sequence[Mapping[str, Any]], recipe: Recipe) -> list[float]:
    net.eval()
    if recipe.statistics == "own":
        net.calibrate(list(data[0].split(256)), 4)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="this subnet is evaluated with BatchNorm statistics that are not its own")
        return [_right(net, one, held_out) for one in values]


@torch.no_grad()
def _right(net: Elastic, values: Values | Mapping[str, Any], held_out: tuple[Tensor, Tensor]) -> float:
    inputs, labels = held_out
    return float((net.select(values)(inputs).argmax(-1) == labels).double().mean())


def _measures(accuracies: Sequence[float], noise: float) -> tuple[Callable[[Sequence[float]], float], Callable[[Sequence[float]], float]]:
    def sparse(scores: Sequence[float]) -> float:
        return sparse_kendall(scores, accuracies, noise, resamples=0).value

    def full(scores: Sequence[float]) -> float:
        return kendall(scores, accuracies, resamples=0).value

    return sparse, full
