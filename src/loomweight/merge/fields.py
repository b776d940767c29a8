"""Strict reading of mappings: unknown keys and wrong kinds are errors that name the line and the nearest key."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from ..errors import unknown
from .marks import Item, as_number

T = TypeVar("T")


def mapping(item: Item, what: str) -> dict[str, Item]:
    """The item as a mapping."""
    if not isinstance(item.value, dict):
        item.place.refuse(f"{what} must be a mapping of keys to values, found {shown(item)}.")
    return item.value


def fields(item: Item, what: str, known: Iterable[str]) -> dict[str, Item]:
    """The item as a mapping with these keys only; a key whose value is empty counts as left out."""
    names = tuple(known)
    found = mapping(item, what)
    for key, value in found.items():
        if key not in names:
            value.place.refuse(f"{what}: {unknown('key', key, names)}.")
    return {key: value for key, value in found.items() if value.value is not None}


def several(item: Item, what: str, read: Callable[[Item], T]) -> tuple[T, ...]:
    """Every element of a list that is not empty, through `read`."""
    if not isinstance(item.value, list) or not item.value:
        item.place.refuse(f"{what} must be a list with at least one entry, found {shown(item)}.")
    return tuple(read(child) for child in item.value)


def required(found: dict[str, Item], key: str, item: Item, what: str) -> Item:
    """The value of a key that must be there."""
    if key not in found:
        item.place.refuse(f"{what} lacks the key {key!r}.")
    return found[key]


def word(item: Item, what: str) -> str:
    """The item as a string; a bare number counts as one (a folder may be called 7)."""
    if isinstance(item.value, bool) or not isinstance(item.value, str | int | float) or item.value == "":
        item.place.refuse(f"{what} must be a word, found {shown(item)}.")
    return str(item.value)


def whole(item: Item, what: str, low: int | None = None) -> int:
    """The item as a whole number, not below `low`."""
    number = as_number(item.value)
    if number is None or number != int(number) or (low is not None and number < low):
        item.place.refuse(f"{what} must be a whole number{'' if low is None else f' of at least {low}'}, found {shown(item)}.")
    return int(number)


def flag(item: Item, what: str) -> bool:
    """The item as true or false."""
    if not isinstance(item.value, bool):
        item.place.refuse(f"{what} must be true or false, found {shown(item)}.")
    return item.value


def one_of(item: Item, what: str, choices: Iterable[str]) -> str:
    """The item as one of a few words."""
    found, names = word(item, what), tuple(choices)
    if found not in names:
        item.place.refuse(f"{unknown(what, found, names)}.")
    return found


def shown(item: Item) -> str:
    """The value as a short word for messages."""
    match item.value:
        case dict():
            return "a mapping"
        case []:
            return "an empty list"
        case list():
            return "a list"
        case None:
            return "nothing"
    return repr(item.value)
