"""Annotations of loomweight are checked under pytest: shapes, types, dataclasses, functions within functions; each with a twin that is not checked."""

import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest
import torch

from loomweight.edits.only import only

from . import checked

SOURCE = '''
"""A module."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from torch import Tensor

from loomweight.shapes import Float

if TYPE_CHECKING:
    from nowhere import Unknown


def add(x: Float[Tensor, "n"], y: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    return x + y


def shortened(x: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    return x[1:]


def inside_a_list(xs: list[Float[Tensor, "n"]]) -> None: ...


def every_kind(a: int, /, b: float, *c: int, d: str = "", **e: int) -> int:
    return a + len(c) + len(e)


def wrong_result(x: int) -> str:
    return x


def count(n: int) -> Iterator[int]:
    yield from range(n)


def quoted(x: "int", y: "Unknown") -> "int":
    return x


def for_the_kind(kind: type) -> Callable:
    def take(x: kind) -> int:
        return 1

    return take


def adding(n: int) -> Callable:
    def add(x: int, y: int = n, *, z: int = 0) -> int:
        return x + (y if y == n else y + n) + z

    return add


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    tags: list[str] = field(default_factory=list)

    def moved(self, by: int) -> Self:
        return Point(self.x + by)

    @property
    def wrong(self) -> str:
        return self.x

    @classmethod
    def at(cls, x: int) -> Self:
        return cls(x)
'''

WRONG = {
    "another axis": lambda m: m.add(torch.ones(2), torch.ones(3)),
    "another rank": lambda m: m.add(torch.ones(2, 2), torch.ones(2, 2)),
    "another dtype": lambda m: m.add(torch.ones(2, dtype=torch.int32), torch.ones(2)),
    "another axis in the result": lambda m: m.shortened(torch.ones(3)),
    "in a list": lambda m: m.inside_a_list([torch.ones(2, 2)]),
    "by position only": lambda m: m.every_kind("1", 2),
    "by position": lambda m: m.every_kind(1, "2"),
    "one of many": lambda m: m.every_kind(1, 2, "3"),
    "by keyword": lambda m: m.every_kind(1, 2, d=3),
    "one of many keywords": lambda m: m.every_kind(1, 2, more="4"),
    "in the result": lambda m: m.wrong_result(1),
    "of a generator function": lambda m: m.count("1"),
    "in quotes": lambda m: m.quoted("1", 2),
    "of an inner function": lambda m: m.for_the_kind(int)("1"),
    "of an inner function by a default's place": lambda m: m.adding(1)(1, "2"),
    "of its twin with another hint": lambda m: (m.for_the_kind(int)(1), m.for_the_kind(str)(1)),
    "of a dataclass": lambda m: m.Point("1"),
    "of a method": lambda m: m.Point(1).moved("1"),
    "of a property": lambda m: m.Point(1).wrong,
    "of a class method": lambda m: m.Point.at("1"),
}


def loaded(kind: type[SourceFileLoader], path: Path) -> ModuleType:
    module = module_from_spec(spec_from_loader("an_example", kind("an_example", str(path))))
    module.__spec__.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ModuleType, ModuleType]]:
    """The same source as it is imported under pytest, and as a user imports it."""
    path = tmp_path_factory.mktemp("source") / "an_example.py"
    path.write_text(SOURCE)
    sys.modules["an_example"] = ModuleType("an_example")  # dataclasses look their module up
    yield loaded(checked.Loader, path), loaded(SourceFileLoader, path)
    del sys.modules["an_example"]


def refused(case, module: ModuleType) -> bool:
    try:
        case(module)
    except TypeError as error:
        return "violates type hint" in str(error)
    except RuntimeError:  # torch's own, for unequal shapes
        pass
    return False


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG.keys())
def test_what_is_not_as_annotated_is_refused_under_pytest_alone(modules, case) -> None:
    assert [refused(case, module) for module in modules] == [True, False]


def test_what_is_as_annotated_passes(modules) -> None:
    for m in modules:
        assert m.add(torch.ones(2), torch.ones(2)).tolist() == [2, 2]
        assert m.add(torch.ones(3), y=torch.ones(3)).tolist() == [2, 2, 2]  # another call, another n
        assert m.every_kind(1, 2, 3, 4, d="d", e=5) == 4
        assert list(m.count(3)) == [0, 1, 2]
        assert m.quoted(1, object()) == 1
        assert m.for_the_kind(int)(1) == m.for_the_kind(str)("1") == 1
        assert m.Point(1).moved(2).x == m.Point.at(3).x


def test_a_shape_of_the_package_is_checked() -> None:
    with pytest.raises(TypeError, match="violates type hint"):
        only(torch.ones(3), torch.ones(2, dtype=torch.bool))


def test_inner_functions_share_one_check_and_keep_what_they_close_over(modules) -> None:
    made = [modules[0].adding(n) for n in range(5)]
    assert [name for _, name, *_ in checked.CHECKS].count("adding.<locals>.add") == 1
    assert [f(1) for f in made] == [1, 2, 3, 4, 5]
    assert [f(1, 9) for f in made] == [10, 11, 12, 13, 14]


def test_it_comes_before_the_package_or_not_at_all() -> None:
    with pytest.raises(RuntimeError, match="imported already"):
        checked.install()
