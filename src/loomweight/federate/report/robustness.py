"""Every rule under every attack: how far hostile clients move what is pooled, against what honest clients differ by.

Papers: Fixing by Mixing: A Recipe for Optimal Byzantine ML under Heterogeneity (2023, https://arxiv.org/abs/2302.01772), definition 2
(robustness coefficient kappa).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ...errors import BadParameter, LoomweightError
from ...rules import (
    Bucketing,
    Bulyan,
    CenteredClip,
    CovarianceFilter,
    GeometricMedian,
    GradientSplitting,
    Krum,
    Mean,
    MeanAroundMedian,
    Median,
    MinimumDiameter,
    MultiKrum,
    NearestNeighbourMixing,
    Rule,
    TrimmedMean,
    combine,
)
from ..attacks import Alie, AllNaN, Attack, Infinite, InnerProduct, Mimic, OneNaN, OptimalAlie, OptimalInnerProduct, SignFlip, TooLarge
from ..plain import Reply

if TYPE_CHECKING:
    from rich.table import Table

#: what an attack is, given the rule that it will meet
Against = Callable[[Rule], Attack]


@dataclass(frozen=True)
class Robustness:
    """A table of kappa; smaller is better, 0 is the honest mean itself, NaN is an attack that broke the rule.

    Args:
        rules: names of the rows.
        attacks: names of the columns.
        kappa: |pooled - h|^2 / mean |x - h|^2, h being the mean of the honest updates x; the mean over seeds.
        refused: (row, column) -> what the rule said instead of a result.
    """

    rules: tuple[str, ...]
    attacks: tuple[str, ...]
    kappa: tuple[tuple[float, ...], ...]
    refused: Mapping[tuple[int, int], str]

    @property
    def worst(self) -> dict[str, float]:
        """Of each rule, over the attacks."""
        return {rule: float(np.max(row)) for rule, row in zip(self.rules, self.kappa, strict=True)}

    def table(self) -> "Table":
        """For the terminal: the worst attack of each rule last."""
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, title="kappa: how far the hostile move the pooled update")
        table.add_column("rule")
        for name in (*self.attacks, "worst"):
            table.add_column(name, justify="right")
        for rule, row in zip(self.rules, self.kappa, strict=True):
            table.add_row(rule, *(_short(value) for value in (*row, self.worst[rule])))
        return table

    def picture(self, path: str | Path) -> Path:
        """A heat map of the table; a `.png`, `.svg` or `.pdf`.

        Raises:
            OutputError, MissingExtra: it cannot be written, or matplotlib is not installed.
        """
        from .robustness_picture import robustness_picture

        return robustness_picture(self, path)


def robustness(
    rules: Mapping[str, Rule] | None = None,
    attacks: Mapping[str, Against] | None = None,
    clients: int = 20,
    f: int = 4,
    entries: int = 1000,
    seeds: Sequence[int] = range(5),
) -> Robustness:
    """kappa of rules under attacks, on synthetic updates.

    Honest updates are m + e_i with m ~ 0.6 N(0, 1) and e_i ~ N(0, 1), entry by entry, in float32; the `f` hostile clients send the same. Clients that
    send NaN or Inf are dropped and counted against f, as a server does. It is one setting: a floor for rules, and no ranking of them.

    Args:
        rules: name -> rule; None is `rules_against(clients, f)`.
        attacks: name -> a function that gives the attack on a rule; None is `attacks_of(f)`.
        clients: n, the hostile ones among them.
        f: how many are hostile.
        entries: of an update.
        seeds: of the draws; kappa is the mean over them.

    Raises:
        BadParameter: f is not in [1, clients / 2), or there is no seed.

    >>> found = robustness({"mean": Mean(), "median": Median()}, {"far": lambda rule: TooLarge()}, clients=9, f=2, entries=50, seeds=[0])
    >>> found.kappa[0][0] > 1e30, found.kappa[1][0] < 1
    (True, True)
    """
    seeds = tuple(seeds)
    if not 1 <= f < clients / 2 or not seeds:
        raise BadParameter(f"robustness needs a seed and 1 <= f < clients / 2 hostile clients, found f = {f} of {clients} and {len(seeds)} seeds.")
    rules, attacks = rules or rules_against(clients, f), attacks or attacks_of(f)
    worlds = [(seed, honest_updates(clients - f, entries, seed)) for seed in seeds]
    refused: dict[tuple[int, int], str] = {}
    rows = []
    for i, rule in enumerate(rules.values()):
        cells = []
        for j, against in enumerate(attacks.values()):
            try:
                cells.append(float(np.mean([moved(rule, against(rule), honest, f, seed) for seed, honest in worlds])))
            except LoomweightError as error:
                refused[i, j] = str(error)
                cells.append(float("nan"))
        rows.append(tuple(cells))
    return Robustness(tuple(rules), tuple(attacks), tuple(rows), refused)


def rules_against(n: int, f: int) -> dict[str, Rule]:
    """The rules that bear f bad clients among n, the mean in front; Bulyan with the f that it can bear.

    >>> list(rules_against(20, 4))[:3]
    ['Mean', 'Median', 'TrimmedMean']
    """
    mixed = {
        "Median": Median(),
        "TrimmedMean": TrimmedMean(f),
        "GeometricMedian": GeometricMedian(),
        "MultiKrum": MultiKrum(f),
        "MinimumDiameter": MinimumDiameter(f),
    }
    rules: dict[str, Rule] = {
        "Mean": Mean(),
        **mixed,
        "Krum": Krum(f),
        "MultiKrum, n-f-1": MultiKrum(f, neighbours=n - f - 1),
        "Bulyan": Bulyan(min(f, (n - 3) // 4)),
        "MeanAroundMedian": MeanAroundMedian(f),
        "CovarianceFilter": CovarianceFilter(f),
        "CenteredClip": CenteredClip(start="core", iterations=3),
        "CenteredClip, 100": CenteredClip(tau=100.0),
        **{f"NNM + {name}": NearestNeighbourMixing(rule, f) for name, rule in mixed.items()},
        "Bucketing(2) + TrimmedMean": Bucketing(TrimmedMean(f), size=2),
        "GAS(Median, 100)": GradientSplitting(Median(), parts=100, f=f),
    }
    return {name: rule for name, rule in rules.items() if _defined(rule, n)}


def attacks_of(f: int) -> dict[str, Against]:
    """The attacks on a rule by f clients that send the same.

    >>> attacks_of(4)["OptALIE"](Median()).attackers
    4
    """
    return {
        "SF": lambda rule: SignFlip(),
        "IPM": lambda rule: InnerProduct(),
        "ALIE": lambda rule: Alie(),
        "OptIPM": lambda rule: OptimalInnerProduct(rule, f),
        "OptALIE": lambda rule: OptimalAlie(rule, f),
        "Mimic": lambda rule: Mimic(),
        "1e20": lambda rule: TooLarge(),
        "Inf": lambda rule: Infinite(),
        "1 NaN": lambda rule: OneNaN(),
        "NaN": lambda rule: AllNaN(),
    }


def honest_updates(count: int, entries: int, seed: int) -> Tensor:
    """One row a client."""
    draw = np.random.default_rng(seed)
    middle = 0.6 * draw.standard_normal(entries)
    return torch.from_numpy((middle + draw.standard_normal((count, entries))).astype(np.float32))


def moved(rule: Rule, attack: Attack, honest: Tensor, f: int, seed: int) -> float:
    """kappa of one draw."""
    updates = [{"update": row} for row in honest]
    forged = attack.forge(Reply("hostile", 0, {"update": honest.mean(0)}), updates, np.random.default_rng([seed, 1])).update
    pooled = combine([*updates, *[forged] * f], rule, nonfinite="drop")["update"].double()
    middle = honest.mean(0).double()
    return float((pooled - middle).square().sum() / (honest.double() - middle).square().sum(1).mean())


def _defined(rule: Rule, n: int) -> bool:
    try:
        rule.check(n)
    except LoomweightError:
        return False
    return True


def _short(value: float) -> str:
    return f"{value:.3f}" if 5e-4 <= value < 1000 else f"{value:.0e}" if value else "0"
