"""The table of kappa: by hand, against ByzFL's cells, NaN columns, and its picture."""

import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from loomweight.errors import BadParameter
from loomweight.federate import Alie, SignFlip, attacks_of, robustness, rules_against
from loomweight.federate.report.robustness import honest_updates
from loomweight.rules import Mean, Median, MultiKrum, NearestNeighbourMixing, TrimmedMean

BYZFL = Path(__file__).parents[2] / "bench" / "tables" / "kappa_byzfl.csv"
SAME = {"Median": Median(), "TrMean": TrimmedMean(4), "NNM + TrMean": NearestNeighbourMixing(TrimmedMean(4), 4), "MultiKrum": MultiKrum(4, neighbours=15)}


def test_of_the_mean_it_is_a_formula() -> None:
    """f / n of the way from h to what is sent: for a sign flip (2 f / n)^2 |h|^2 over the spread."""
    found = robustness({"mean": Mean()}, {"SF": lambda rule: SignFlip(), "ALIE": lambda rule: Alie(1.5)}, clients=10, f=2, entries=300, seeds=[3])
    honest = honest_updates(8, 300, 3).double()
    middle = honest.mean(0)
    spread = (honest - middle).square().sum(1).mean()
    assert found.kappa[0][0] == pytest.approx(float(0.16 * middle.square().sum() / spread), rel=1e-4)  # float32 sums of ten updates
    assert found.kappa[0][1] == pytest.approx(0.04 * 1.5**2 * 8 / 7, rel=1e-4)  # the same


@pytest.mark.parametrize("attack", ["SF", "ALIE", pytest.param("OptALIE", marks=pytest.mark.slow), "Mimic"])
def test_cells_of_rules_that_are_alike_in_byzfl(attack: str) -> None:
    """byzfl 0.0.11 on the same updates; its median of 20 is the lower of the middle two, which costs a little."""
    with BYZFL.open() as file:
        peer = {line["rule"]: float(line[attack]) for line in csv.DictReader(file)}
    found = robustness(SAME, {attack: attacks_of(4)[attack]}, seeds=range(5))
    for rule, (value,) in zip(found.rules, found.kappa, strict=True):
        # the file has four digits; a median of an even number is another one
        assert value == pytest.approx(peer[rule], rel=0.05 if rule == "Median" else 2e-3, abs=1e-12), rule


def test_no_rule_gives_nan_or_infinity() -> None:
    attacks = {name: attacks_of(4)[name] for name in ("Inf", "1 NaN", "NaN", "1e20")}
    rules = {name: rule for name, rule in rules_against(20, 4).items() if name not in ("Mean", "CenteredClip, 100")}  # whose bounds are none and 100
    found = robustness(rules, attacks, entries=200, seeds=[0])
    assert len(rules) > 15 and not found.refused
    assert np.isfinite(np.array(found.kappa)).all()
    assert max(found.worst.values()) < 1.5


def test_what_a_rule_refuses_is_said_and_not_left_out() -> None:
    found = robustness({"krum": MultiKrum(9), "mean": Mean()}, {"SF": lambda rule: SignFlip()}, entries=20, seeds=[0])
    assert math.isnan(found.kappa[0][0]) and "n >= 2 f + 3" in found.refused[0, 0] and found.kappa[1][0] > 0
    for wrong in ({"f": 0}, {"f": 10}, {"seeds": []}):
        with pytest.raises(BadParameter, match="1 <= f < clients / 2"):
            robustness({"mean": Mean()}, **wrong)


def test_rules_are_those_that_are_defined() -> None:
    assert {"Bulyan", "MinimumDiameter", "NNM + MinimumDiameter"} <= set(rules_against(20, 4))
    assert "Krum" not in rules_against(5, 2) and "Median" in rules_against(5, 2)


def test_table_and_picture(tmp_path: Path) -> None:
    found = robustness({"mean": Mean(), "median": Median()}, {"SF": lambda rule: SignFlip()}, entries=50, seeds=[0])
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(found.table())
    assert "median" in (text := console.export_text()) and "worst" in text
    pytest.importorskip("matplotlib", reason="matplotlib, of the extra `demo`, is not installed")  # an extra: it may lack here
    assert found.picture(tmp_path / "kappa.png").stat().st_size > 1000


def test_one_setting_is_one_table() -> None:
    assert torch.equal(honest_updates(3, 10, 1), honest_updates(3, 10, 1)) and not torch.equal(honest_updates(3, 10, 1), honest_updates(3, 10, 2))
