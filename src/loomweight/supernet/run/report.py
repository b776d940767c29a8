"""The report of a search: the front, its costs, and what the ranking behind it is worth."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import OutputError, TooFewSets
from ...evaluate import kendall, ranking
from ...search import Found, Trial
from ..elastic import Elastic
from .judge import score

#: how many configurations the ranking is looked at with
_LOOKED = 24


def honesty(net: Elastic, batches: Sequence[Any], seed: int = 0, count: int = _LOOKED) -> str:
    """What the supernet's ranking of its subnets is worth, as far as it can tell by itself.

    Subnets drawn at random are scored on both halves of the data: how far the two rankings agree bounds what a ranking on this much
    data can say. Beside it stands how far the number of parameters alone ranks as the supernet does: a supernet that only repeats it
    was not needed. Whether the ranking is that of networks trained alone, only training them says.

    Args:
        net: the trained elastic model.
        batches: (inputs, targets), at least two.
        seed: of the configurations.
        count: how many of them.

    Raises:
        TooFewSets: there are fewer than two batches.
    """
    if len(batches) < 2:
        raise TooFewSets("a ranking is compared between two halves of the data; give at least two batches.")
    generator = np.random.default_rng(seed)
    drawn = {tuple(values.values()): values for values in (net.sample(generator) for _ in range(4 * count))}
    chosen = list(drawn.values())[:count]
    if len(chosen) < 3:
        return f"the space has {len(chosen)} configurations: too few to rank."
    halves = [[_worth(net, values, half) for values in chosen] for half in (batches[::2], batches[1::2])]
    params = [net.cost(values).params for values in chosen]
    mean = np.mean(halves, axis=0)
    if any(len(set(half)) < 2 for half in (*halves, mean.tolist())):
        return f"{len(chosen)} subnets score alike on the data: there is no ranking to judge. Train longer, or give more data."
    agree = kendall(halves[0], halves[1])
    lines = [
        f"{len(chosen)} subnets drawn at random, ranked on two halves of the data: Kendall's tau {agree} between the two.",
        f"Kendall's tau between the supernet's ranking and that by parameters alone: {kendall(mean.tolist(), params)}.",
        "Whether it ranks as training alone does is not known from here; evaluate.ranking compares it with networks trained alone.",
    ]
    return "\n".join(lines)


def against_truth(scores: Sequence[float], truth: Sequence[float], params: Sequence[float]) -> str:
    """The supernet's scores beside accuracies of networks trained alone: `evaluate.ranking` with parameters as the baseline."""
    return str(ranking(scores, truth, {"params": params}, name="supernet"))


def _worth(net: Elastic, values: Any, batches: Sequence[Any]) -> float:
    found = score(net, values, batches)
    return -found.loss if np.isnan(found.accuracy) else found.accuracy


def report(found: Found, net: Elastic, words: str, folder: str | Path) -> Path:
    """Write `report.md` and `front.png` (where matplotlib is installed) into the folder of the run; the path of the report.

    Raises:
        OutputError: the folder cannot be written.
    """
    folder = Path(folder)
    names = list(found.study.objectives)
    head = ["trial", *names, *(name for name in ("params", "flops", "nbytes") if name not in names), "configuration"]
    rows = [_row(found, net, trial, names) for trial in found.front]
    lines = ["# Search of a supernet", "", f"{len(found.trials)} trials; {len(found.front)} on the front.", ""]
    lines += [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]
    if failed := [trial for trial in found.trials if trial.failure]:
        lines += ["", f"{len(failed)} trials failed, the first: {failed[0].failure}"]
    lines += ["", "## What the ranking is worth", "", words, "", "![front](front.png)", ""]
    try:
        (folder / "report.md").write_text("\n".join(lines), "utf-8")
    except OSError as error:
        raise OutputError(f"{folder / 'report.md'} cannot be written: {error.strerror or error}.") from error
    found.plot(folder / "front.png")
    return folder / "report.md"


def _row(found: Found, net: Elastic, trial: Trial, names: list[str]) -> list[str]:
    cost = net.cost(trial.parameters)
    rest = [f"{getattr(cost, name):,}" for name in ("params", "flops", "nbytes") if name not in names]
    shown = ", ".join(f"{name}={value}" for name, value in trial.parameters.items())
    return [str(trial.number), *(f"{value:.6g}" for value in trial.values), *rest, f"`{shown}`"]
