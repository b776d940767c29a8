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
    ours = {_plain(key): (key, thing) for key, thing in made_by().items()}
    if wanted in ours:
        return native(*ours[wanted], place)
    known = {plain: key for plain, (key, _) in ours.items()} | {_plain(method.name): method.name for method in METHODS}
    raise place.error(f"{unknown('merge method', name, known.values())}.")


def _plain(name: str) -> str:
    return re.sub(r"[-_\s]+", "", name).lower()
