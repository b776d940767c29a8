"""The method that a recipe names: one of mergekit's, or any rule of ours."""

import re

from ..errors import unknown
from .marks import Place
from .mergekit_names import METHODS
from .method import Method
from .native import made_by, native


def find_method(name: str, place: Place) -> Method:
    """The method of that name; case, hyphens and spaces do not matter.

    Raises:
        RecipeError: there is none; the message gives the place, the nearest names and all of them.

    >>> find_method("Task-Arithmetic", Place("", 1)).name
    'task_arithmetic'
    """
    wanted = _plain(name)
    for method in METHODS:
        if _plain(method.name) == wanted:
            return method
    ours = made_by()
    for key, thing in ours.items():
        if _plain(key) == wanted:
            return native(key, thing, place)
    raise place.error(f"{unknown('merge method', name, {method.name for method in METHODS} | set(ours))}.")


def _plain(name: str) -> str:
    return re.sub(r"[-_\s]+", "", name).lower()
