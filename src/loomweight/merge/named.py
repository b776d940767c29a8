"""Things that a user names as `module:function`: evaluators, makers of models, data."""

import importlib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..errors import BadParameter, LoomweightError, UnknownName, unknown


def named(name: str, what: str) -> Any:
    """What `module:function` names; modules of the working folder count.

    Args:
        name: as the user wrote it.
        what: what it should be, with its article, for messages: "an evaluator".

    Raises:
        UnknownName: there is no such module, or nothing of that name in it.
        BadParameter: the name has no colon.

    >>> named("math:tau", "a number")
    6.283185307179586
    """
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise BadParameter(f"{what} is named module:function, found {name!r}.")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise BadParameter(f"{name}: the module {module_name} asks for {error.name}, which is not there; install it.") from error
        near = [path.stem for path in Path.cwd().glob("*.py")]
        raise UnknownName(f"{unknown('module', module_name, near)} in the working folder.") from error
    except SyntaxError as error:
        raise BadParameter(f"{name}: the module cannot be read: {error.msg} ({error.filename}, line {error.lineno}).") from error
    if not hasattr(module, attribute):
        public = [key for key, value in vars(module).items() if not key.startswith("_") and getattr(value, "__module__", module_name) == module_name]
        raise unknown(f"{what.removeprefix('an ').removeprefix('a ')} in {module_name}", attribute, public)
    return getattr(module, attribute)


def called(function: Any, name: str) -> Any:
    """What a function of the user's gives when it is called without arguments; what goes wrong in it becomes one message.

    Raises:
        BadParameter: it is no function, or raises.

    >>> called(dict, "builtins:dict")
    {}
    """
    if not callable(function):
        raise BadParameter(f"{name} is a {type(function).__name__}, not a function.")
    try:
        return function()
    except LoomweightError:
        raise
    except Exception as error:
        words = (str(error).strip() or "no message").splitlines()[0]
        raise BadParameter(f"{name}() ended with {type(error).__name__}: {words}; it is called without arguments.") from error


def batches_of(found: Any, name: str) -> list[Any]:
    """What a data function gave, as a list of batches.

    Raises:
        BadParameter: it is nothing that can be gone through, or it is empty.

    >>> batches_of(iter([(1, 2)]), "nets:batches")
    [(1, 2)]
    """
    if not isinstance(found, Iterable) or isinstance(found, Tensor | Mapping | nn.Module):
        raise BadParameter(f"{name}() gives a {type(found).__name__}, not batches that can be gone through: a list of (inputs, labels).")
    listed = list(found)
    if not listed:
        raise BadParameter(f"{name}() gives no batch.")
    return listed
