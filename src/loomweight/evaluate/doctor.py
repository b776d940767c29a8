"""Is this checkpoint whole and safe?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import LoomweightError
from ..weights import Weights, load
from ..weights.config import config_of
from ..weights.names import listed
from .config_claims import broken_claims
from .survey import Facts, survey


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: fine, odd (a person should look), or bad (it will not load, or not as meant)."""

    grade: Literal["fine", "odd", "bad"]
    what: str


def examine(path: Path | str) -> list[Finding]:
    """Open the checkpoint, read all of it once, and say what was found.

    Bad: it does not open (damaged, unsafe, inconsistent), holds NaN or Inf, or its config contradicts its tensors. Odd: left
    behind partial output, several dtypes, tensors of zeros only.
    """
    try:
        weights = load(path)
    except LoomweightError as error:
        return [Finding("bad", str(error))]
    facts = survey(weights)
    opened = Finding("fine", f"opens: {weights!r}, names, shapes and sizes agree with the files; nothing in it can run code")
    return [opened, _finite(facts), _dtypes(facts), *_zeros(facts), *_shared(weights), *_config(path, weights), *_leftovers(Path(path))]


def _finite(facts: list[Facts]) -> Finding:
    bad = [f"{fact.name} ({fact.nan} NaN, {fact.inf} Inf)" for fact in facts if fact.nan or fact.inf]
    return Finding("bad", f"NaN or Inf in {listed(bad)}") if bad else Finding("fine", "every number is finite")


def _dtypes(facts: list[Facts]) -> Finding:
    dtypes = {fact.dtype: sum(other.dtype == fact.dtype for other in facts) for fact in facts if "int" not in fact.dtype and fact.dtype != "bool"}
    said = ", ".join(f"{count} tensors of {dtype}" for dtype, count in sorted(dtypes.items()))
    return Finding("odd" if len(dtypes) > 1 else "fine", said or "no floating tensor")


def _zeros(facts: list[Facts]) -> list[Finding]:
    empty = [fact.name for fact in facts if len(fact.shape) > 1 and fact.nbytes and not fact.norm and not fact.nan and not fact.inf]
    return [Finding("odd", f"nothing but zeros in {listed(empty)}")] if empty else []


def _shared(weights: Weights) -> list[Finding]:
    return [Finding("fine", f"{alias!r} shares the storage of {owner!r}") for alias, owner in weights.ties.items()]


def _config(path: Path | str, weights: Weights) -> list[Finding]:
    try:
        config = config_of(path)
    except LoomweightError as error:
        return [Finding("bad", str(error))]
    if config is None:
        return []
    broken = broken_claims(config, weights)
    return [Finding("bad", claim) for claim in broken] or [Finding("fine", "config.json agrees with the tensors where it can be checked")]


def _leftovers(path: Path) -> list[Finding]:
    beside = path.parent.glob(f".{path.name}*partial*") if path.exists() else []
    return [Finding("odd", f"an unfinished output lies beside it: {part.name}; finish it with --resume or remove it") for part in beside]
