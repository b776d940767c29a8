"""Every public name says what it is; every rule and edit shows an example and names its source."""

import ast
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

import loomweight

PACKAGES = [loomweight, *(importlib.import_module(f"loomweight.{info.name}") for info in pkgutil.iter_modules(loomweight.__path__) if info.name != "__main__")]
by_package = pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)


def exported(package: ModuleType) -> dict[str, type | FunctionType]:
    """The public classes and functions of a package or module that are loomweight's own."""
    public = {name: value for name, value in vars(package).items() if not name.startswith("_") and isinstance(value, type | FunctionType)}
    return {name: value for name, value in public.items() if value.__module__.startswith("loomweight")}


def undocumented(names: dict[str, type | FunctionType]) -> list[str]:
    """Names, and methods of classes, without a docstring. What dataclass writes by itself is none."""
    return [where for name, value in names.items() for where in _undocumented(name, value)]


def _undocumented(name: str, value: type | FunctionType) -> Iterator[str]:
    doc = value.__doc__
    if not doc or not doc.strip() or doc.startswith(f"{value.__name__}("):
        yield name
    if isinstance(value, type):
        for key, member in vars(value).items():
            inner = member.__func__ if isinstance(member, staticmethod | classmethod) else getattr(member, "fget", member)
            if not key.startswith("_") and isinstance(inner, FunctionType) and not inspect.getdoc(getattr(value, key)):
                yield f"{name}.{key}"


def module_doc(value: object) -> str:
    return sys.modules[getattr(value, "__module__", "")].__doc__ or ""


@by_package
def test_every_public_name_has_a_docstring(package: ModuleType) -> None:
    assert package.__doc__
    assert not undocumented(exported(package))


@by_package
def test_a_package_re_exports_in_so_many_words(package: ModuleType) -> None:
    """`from .x import y as y`: an import without `as` is for the package's own use and says so with an underscore."""
    path = Path(package.__file__ or "")
    if path.name != "__init__.py":
        return
    tree = ast.parse(path.read_text())
    aliases = [alias for node in tree.body if isinstance(node, ast.ImportFrom) and node.level for alias in node.names]
    assert not [alias.name for alias in aliases if alias.asname is None]
    assert not [alias.asname for alias in aliases if not hasattr(package, alias.asname or alias.name)]


@pytest.mark.parametrize("package", [loomweight.rules, loomweight.edits], ids=["rules", "edits"])
def test_every_method_shows_an_example(package: ModuleType) -> None:
    methods = {name: value for name, value in exported(package).items() if not inspect.isabstract(value)}
    assert not [name for name, value in methods.items() if value is not loomweight.rules.Sets and ">>>" not in f"{value.__doc__}{module_doc(value)}"]


def test_every_rule_names_its_source() -> None:
    methods = {name: value for name, value in exported(loomweight.rules).items() if inspect.isfunction(value) or not inspect.isabstract(value)}
    ours = {"combine", "Sets", "Take", "Per", "PerVector", "Route"}  # no method of a paper
    assert not [name for name, value in methods.items() if name not in ours and "http" not in f"{value.__doc__}{module_doc(value)}"]


def test_that_a_missing_docstring_is_noticed() -> None:
    class Mute:
        def speak(self) -> None: ...

    class Loud:
        """Speaks."""

        @property
        def volume(self) -> int:
            return 1

        def speak(self) -> None:
            """Speak."""

    def silent() -> None: ...

    assert undocumented({"Mute": Mute, "Loud": Loud, "silent": silent}) == ["Mute", "Mute.speak", "Loud.volume", "silent"]  # type: ignore[dict-item]
