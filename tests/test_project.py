"""The project file and the constraints say the same, and the extras that messages name exist."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
PINS = [Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]


def test_constraints_are_versions_and_nothing_else() -> None:
    assert all(re.fullmatch(r"==[\w.]+", str(pin.specifier)) and not pin.url and not pin.marker for pin in PINS)
    names = [canonicalize_name(pin.name) for pin in PINS]
    assert len(set(names)) == len(names)


def test_everything_that_is_asked_for_is_pinned_within_its_bounds() -> None:
    pinned = {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in PINS}
    asked = [Requirement(text) for text in (*PROJECT["dependencies"], *(text for extra in EXTRAS.values() for text in extra))]
    outside = [str(wanted) for wanted in asked if wanted.name != "loomweight" and pinned.get(canonicalize_name(wanted.name), "") not in wanted.specifier]
    assert not outside


def test_extras_named_in_messages_exist() -> None:
    named = {extra for path in (ROOT / "src").rglob("*.py") for extra in re.findall(r"loomweight\[(\w+)\]", path.read_text())}
    assert named <= set(EXTRAS)
