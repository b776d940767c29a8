"""Parts of a strategy as words: `krum(f=2)` is `Krum(f=2)`, and what `repr` shows of a part can be given back."""

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import torch

from ..edits.edit import Edit
from ..errors import BadParameter, unknown
from ..rules import Rule
from .attacks import Attack
from .choosing import Choose
from .messages import Message
from .objectives import Term
from .partition import Partition
from .pooling import Aggregate

_PACKAGES = ("loomweight.edits", "loomweight.rules", "loomweight.federate")
_OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
_BASES = (Edit, Rule, Attack, Choose, Message, Term, Aggregate, Partition)
_PLAIN = (bool, int, float, str)


def part(words: str, kinds: tuple[type, ...], what: str) -> Any:
    """The part of a strategy that the words say.

    Args:
        words: a name, or a name with options in brackets; options are numbers, words, lists, and other parts.
        kinds: the classes that will do.
        what: it should be, with its article, for messages.

    Raises:
        UnknownName: no part of these kinds is called so.
        BadParameter: the words cannot be read, or an option is none or out of its range.

    >>> from loomweight.federate import Choose
    >>> part("sample(3)", (Choose,), "a choice of clients")
    Sample(count=3)
    """
    try:
        node = ast.parse(words.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise BadParameter(f"{words[:200]!r} cannot be read as {what}: write a name with options, as in krum(f=2).") from error
    found = _value(node, words, (kinds, what))
    if not isinstance(found, kinds):
        raise unknown(what.removeprefix("an ").removeprefix("a "), words.partition("(")[0], _names(kinds))
    return found


def known() -> dict[str, Callable[..., Any]]:
    """What can be said: name -> class or function.

    >>> sorted(known())[:2]
    ['adam', 'adamw']
    """
    exported = {snake(name): thing for package in _PACKAGES for name, thing in vars(import_module(package)).items() if _public(name, thing)}
    return {**exported, **_OPTIMIZERS}


def snake(name: str) -> str:
    """TrimmedMean -> trimmed_mean.

    >>> snake("FedAvgM")
    'fed_avg_m'
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _public(name: str, thing: Any) -> bool:
    """Parts, and functions that make one; nothing else can be called by words."""
    made = thing if inspect.isclass(thing) else inspect.signature(thing).return_annotation if inspect.isfunction(thing) else None
    return not name.startswith("_") and inspect.isclass(made) and issubclass(made, _BASES) and not inspect.isabstract(thing)


def _names(kinds: tuple[type, ...]) -> Iterator[str]:
    return (name for name, thing in known().items() if inspect.isclass(thing) and issubclass(thing, kinds))


def _value(node: ast.expr, words: str, top: tuple[tuple[type, ...], str] | None = None) -> Any:
    match node:
        case ast.Name(id=name) if name in ("None", "True", "False"):
            return {"None": None, "True": True, "False": False}[name]
        case ast.Name(id=name):
            return _made(name, [], {}, words, top)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if all(keyword.arg for keyword in keywords):
            options = {str(keyword.arg): _value(keyword.value, words) for keyword in keywords}
            return _made(name, [_value(arg, words) for arg in args], options, words, top)
        case ast.Tuple(elts=elements) | ast.List(elts=elements):
            return tuple(_value(element, words) for element in elements)
        case ast.Constant(value=value) if value is None or isinstance(value, _PLAIN):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=value)) if isinstance(value, int | float):
            return -value
    raise BadParameter(f"{words!r}: {ast.unparse(node)!r} is no number, word, list or part; write options as in krum(f=2).")


def _made(name: str, args: list[Any], options: dict[str, Any], words: str, top: tuple[tuple[type, ...], str] | None) -> Any:
    there = known()
    make = there.get(snake(name)) or {key.replace("_", ""): thing for key, thing in there.items()}.get(name.lower().replace("_", ""))
    if make is None:
        kinds, what = top or ((), "part")
        raise unknown(what.removeprefix("an ").removeprefix("a "), name, _names(kinds) if kinds else there)
    if make in _OPTIMIZERS.values():
        made = partial(make, *args, **options)
        try:
            made([torch.nn.Parameter(torch.zeros(1))])
        except (TypeError, ValueError) as error:
            raise BadParameter(f"{words!r}: {snake(name)} cannot be made: {error}.") from error
        return made
    try:
        bound = inspect.signature(make).bind(*args, **options)
    except TypeError as error:
        raise BadParameter(f"{words!r}: {snake(name)} takes {inspect.signature(make)}; {error}.") from error
    for key, value in bound.arguments.items():
        _fits(make, key, value, words)
    try:
        return make(*args, **options)
    except TypeError as error:
        raise BadParameter(f"{words!r}: {error}.") from error


def _fits(make: Callable[..., Any], key: str, value: Any, words: str) -> None:
    """Numbers and words of the kind that is asked for; what is asked for in other terms is looked at by the part itself."""
    hint = get_type_hints(make.__init__ if inspect.isclass(make) else make).get(key)
    wanted: tuple[Any, ...] = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    if not all(kind in (*_PLAIN, type(None)) for kind in wanted):
        return
    exact = int in wanted or float in wanted
    good = isinstance(value, (*wanted, int) if float in wanted else wanted) and not (exact and isinstance(value, bool) and bool not in wanted)
    if not good:
        names = " or ".join("None" if kind is type(None) else kind.__name__ for kind in wanted)
        raise BadParameter(f"{words!r}: {key} is {names}, found {value!r}.")
