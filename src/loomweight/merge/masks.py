"""What `--allow-nonfinite` means for a rule: mask the entry where each entry is decided alone, else drop the whole model."""

from typing import Literal

from ..rules import Around, Per, Pointwise, Route, Rule


def nonfinite_of(rule: Rule) -> Literal["mask", "drop"]:
    """The policy for NaN and Inf that a rule can follow.

    >>> from loomweight.rules import Mean
    >>> nonfinite_of(Mean())
    'mask'
    """
    return "mask" if _entry_by_entry(rule) else "drop"


def _entry_by_entry(rule: Rule) -> bool:
    match rule:
        case Pointwise():
            return True
        case Around() | Per():
            return _entry_by_entry(rule.rule)
        case Route():
            return all(_entry_by_entry(inner) for _, inner in rule.table)
    return False
