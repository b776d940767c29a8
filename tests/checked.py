"""Annotated types and shapes of loomweight are checked while testing, and only then: a hook that decorates every function and dataclass on import.

jaxtyping brings such a hook, which compiles a new check at every `def` that runs. Functions within functions are made thousands of times in this suite, and
that was half of its time. Here a check is compiled once for a piece of code and its hints; who checks is the same: jaxtyping's shapes, through beartype.
"""

import ast
import sys
import typing
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from functools import wraps
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, FunctionType, ModuleType, SimpleNamespace

import jaxtyping
from beartype import BeartypeConf, FrozenDict, beartype

PACKAGE = "loomweight"
NAME = "__checked__"
Check = tuple[Callable, Callable, bool]

# an int is a float, as in PEP 484; `Self` is not checked, since functions are decorated without their class
CONF = BeartypeConf(is_pep484_tower=True, hint_overrides=FrozenDict({typing.Self: object}), violation_type=TypeError)
#: by a function's name, code and hints, not by what it closes over
CHECKS: dict[tuple, Check] = {}


def install() -> None:
    """Decorate what is imported of the package from now on."""
    if PACKAGE in sys.modules:
        raise RuntimeError(f"{PACKAGE} is imported already, so its annotations would not be checked")
    sys.meta_path.insert(0, Finder())


class Finder(MetaPathFinder):
    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname.partition(".")[0] != PACKAGE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = Loader(fullname, spec.loader.path)
        return spec


class Loader(SourceFileLoader):
    def path_stats(self, path: str) -> typing.NoReturn:
        raise OSError("no byte code from or for the cache, where a user's import would find it")

    def source_to_code(self, data: bytes, path: str, *, _optimize: int = -1) -> CodeType:
        return compile(decorated(ast.parse(data, path)), path, "exec", dont_inherit=True, optimize=_optimize)

    def exec_module(self, module: ModuleType) -> None:
        setattr(module, NAME, checked)
        super().exec_module(module)


def decorated(tree: ast.Module) -> ast.Module:
    """Functions are checked below their other decorators, dataclasses above, where `__init__` is made."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.decorator_list.append(ast.copy_location(ast.Name(NAME, ast.Load()), node))
        elif isinstance(node, ast.ClassDef):
            node.decorator_list.insert(0, ast.copy_location(ast.Name(NAME, ast.Load()), node))
    return tree


def checked(thing: typing.Any) -> typing.Any:
    if not isinstance(thing, type):
        return checked_function(thing)
    init = vars(thing).get("__init__")
    if is_dataclass(thing) and init is not None and not hasattr(init, "__wrapped__"):
        thing.__init__ = checked_function(init)
    return thing


def checked_function(function: FunctionType) -> Callable:
    if not function.__annotations__:
        return function
    key = function.__module__, function.__qualname__, function.__code__, *function.__annotations__.items()
    if key not in CHECKS:
        CHECKS[key] = check(function)
    arguments, result, shaped = CHECKS[key]

    def plain(*args: object, **kwargs: object) -> object:
        if jaxtyping.config.jaxtyping_disable:
            return function(*args, **kwargs)
        arguments(*args, **kwargs)
        return result(function(*args, **kwargs))

    def with_shapes(*args: object, **kwargs: object) -> object:
        with jaxtyping.jaxtyped("context"):  # an axis has one size in arguments and result
            return plain(*args, **kwargs)

    return wraps(function)(with_shapes if shaped else plain)


def check(function: FunctionType) -> Check:
    """(a function of the same arguments that raises for a wrong one, one of the result that gives it back, whether shapes are among the hints)."""
    hints = {name: meant(hint, function) for name, hint in function.__annotations__.items()}
    returned = {"return": hints.pop("return")} if "return" in hints else {}
    shaped = any(has_shape(hint) for hint in (*hints.values(), *returned.values()))
    return stub(function, hints), stub(function, returned, "value"), shaped


def meant(hint: object, function: FunctionType) -> object:
    """The hint without quotes. Names that are imported for the type checker alone stand for anything."""
    try:
        return typing.get_type_hints(SimpleNamespace(__annotations__={"it": hint}), function.__globals__, include_extras=True)["it"]
    except NameError:
        return typing.Any


def has_shape(hint: object) -> bool:
    return (isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray)) or any(map(has_shape, typing.get_args(hint)))


def stub(function: FunctionType, hints: dict[str, object], value: str = "") -> Callable:
    """A function that only checks: of the arguments of `function`, or of one `value`, which it returns."""
    text = f"def {function.__name__}({value or parameters(function.__code__)}): return {value}"
    code = next(c for c in compile(text, f"<check of {function.__qualname__}>", "exec").co_consts if isinstance(c, CodeType))
    made = FunctionType(code, {}, function.__name__)
    if not value:
        made.__defaults__, made.__kwdefaults__ = (None,) * len(function.__defaults__ or ()), dict.fromkeys(function.__kwdefaults__ or ())
    made.__annotations__, made.__module__, made.__qualname__ = hints, function.__module__, function.__qualname__
    return beartype(made, conf=CONF)


def parameters(code: CodeType) -> str:
    """The parameters of a piece of code as they are written, without defaults and hints."""
    plain, keywords = code.co_argcount, code.co_kwonlyargcount
    names = iter(code.co_varnames)
    parts = [next(names) for _ in range(plain)]
    if code.co_posonlyargcount:
        parts.insert(code.co_posonlyargcount, "/")
    only = [next(names) for _ in range(keywords)]
    if code.co_flags & 0x04:
        parts.append(f"*{next(names)}")
    elif only:
        parts.append("*")
    return ", ".join(parts + only + ([f"**{next(names)}"] if code.co_flags & 0x08 else []))
