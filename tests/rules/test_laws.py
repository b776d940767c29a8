"""Every rule against the laws that its row declares, and every rule has rows.

A family of rules has its rows in a file `rows_*.py` beside this one, with `LAWS` (rule -> laws) and `VALUES`.
"""

import importlib
from inspect import isabstract
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loomweight import rules
from loomweight.errors import LoomweightError
from loomweight.rules import Around, Per, Route, Rule, combine

from ..strategies import weight_sets
from .laws import ALWAYS, Law

ROWS = [importlib.import_module(f".{path.stem}", __package__) for path in sorted(Path(__file__).parent.glob("rows_*.py"))]
LAWS: dict[Rule, frozenset[Law]] = {rule: laws for rows in ROWS for rule, laws in rows.LAWS.items()}
VALUES = [row for rows in ROWS for row in rows.VALUES]
#: rules whose laws need evidence that fits the sets: where they are tested instead
ELSEWHERE: dict[type[Rule], str] = {rule: where for rows in ROWS for rule, where in getattr(rows, "ELSEWHERE", {}).items()}
PAIRS = [pytest.param(rule, law, id=f"{law.__name__}-{rule}"[:100]) for rule, laws in LAWS.items() for law in sorted(laws | ALWAYS, key=lambda f: f.__name__)]


def sizes(rule: Rule) -> list[int]:
    """For how many sets a rule is defined, out of 1 to 9."""

    def defined(n: int) -> bool:
        try:
            rule.check(n)
        except LoomweightError:
            return False
        return True

    return [n for n in range(1, 10) if defined(n)]


@pytest.mark.parametrize(("rule", "law"), PAIRS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_law(rule: Rule, law: Law, data: st.DataObject) -> None:
    n = data.draw(st.sampled_from(sizes(rule)))
    law(rule, data.draw(weight_sets(n, n)))


@pytest.mark.parametrize(("rule", "sets", "expected", "origin"), VALUES, ids=lambda value: repr(value)[:60])
def test_value(rule: Rule, sets: list, expected: list, origin: str) -> None:
    assert origin
    states = [{"w": torch.as_tensor(w, dtype=torch.float64)} for w in sets]
    torch.testing.assert_close(combine(states, rule)["w"], torch.as_tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-9)


def final_rules() -> set[type[Rule]]:
    """Every public rule class that can be used."""
    public = [getattr(rules, name) for name in dir(rules) if not name.startswith("_")]
    return {cls for cls in public if isinstance(cls, type) and issubclass(cls, Rule)} - {cls for cls in public if isinstance(cls, type) and isabstract(cls)}


def test_every_rule_has_laws_and_values() -> None:
    wrappers = {Around, Per, Route}
    lawless = final_rules() - set(map(type, LAWS)) - wrappers - set(ELSEWHERE)
    valueless = final_rules() - {type(row[0]) for row in VALUES} - wrappers
    assert all((Path(__file__).parent / where).exists() for where in ELSEWHERE.values())
    assert not lawless and not valueless, f"no row of laws: {lawless}; no golden value: {valueless}"


def test_that_a_broken_law_is_noticed() -> None:
    from .laws import ignores_order

    with pytest.raises(AssertionError):
        ignores_order(rules.Take(0), [{"w": torch.tensor([1.0])}, {"w": torch.tensor([2.0])}])
