"""Tensor names: patterns, layer numbers, differences between two sets of names."""

import re
from collections.abc import Iterable
from functools import lru_cache

_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile("".join(".*" if char == "*" else "." if char == "?" else re.escape(char) for char in pattern), re.DOTALL)


def matches(pattern: str, name: str) -> bool:
    """True where the whole name fits the pattern: `*` is any run of characters, dots too; `?` is one character.

    >>> matches("*.mlp.*", "layers.0.mlp.up.weight"), matches("mlp", "layers.0.mlp.up.weight")
    (True, False)
    """
    return _compiled(pattern).fullmatch(name) is not None


def layer_of(name: str) -> str:
    """The name up to and with its first number between dots; a name without one is its own layer's without the last word.

    >>> layer_of("model.layers.3.mlp.up.weight"), layer_of("lm_head.weight"), layer_of("bias")
    ('model.layers.3', 'lm_head', 'bias')
    """
    found = _NUMBER.search(name)
    if found:
        return name[: found.end()]
    return name.rpartition(".")[0] or name


def tensor_of(name: str) -> str:
    """The name itself: the grain at which every tensor stands alone."""
    return name


def model_of(name: str) -> str:
    """The same word for every name: the grain of the whole model."""
    return ""


def difference(left: Iterable[str], right: Iterable[str], limit: int = 5) -> str:
    """Say which names only one side has, or '' where both hold the same.

    >>> difference(["a", "b"], ["b", "c", "d"])
    "only in the first: 'a'; only in the second: 'c', 'd'"
    """
    first, second = set(left), set(right)
    sides = (("only in the first", first - second), ("only in the second", second - first))
    return "; ".join(f"{side}: {listed(names, limit)}" for side, names in sides if names)


def listed(names: Iterable[str], limit: int = 5) -> str:
    """Quote the first few names and count the rest.

    >>> listed(["c", "a", "b"], limit=2)
    "'a', 'b' and 1 more"
    """
    ordered = sorted(names)
    shown = ", ".join(map(repr, ordered[:limit]))
    return shown + (f" and {len(ordered) - limit} more" if len(ordered) > limit else "")
