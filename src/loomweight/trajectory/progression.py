"""Several numbers in one word of a command line."""

from ..errors import BadParameter

_REST = "..."
_CLOSE = 1e-6


def progression(text: str, what: str) -> tuple[float, ...]:
    """Numbers between commas; `...` goes on in even steps to the number behind it.

    Args:
        text: as it was typed.
        what: its name, for messages.

    Raises:
        BadParameter: something else was typed.

    >>> progression("0.05,0.1,...,0.25", "--length"), progression("1,5,20", "--last")
    ((0.05, 0.1, 0.15, 0.2, 0.25), (1.0, 5.0, 20.0))
    """
    words = [word.strip() for word in text.split(",")]
    found: list[float] = []
    for at, word in enumerate(words):
        if word != _REST:
            found.append(_number(word, what, text))
        elif at < 2 or at + 1 >= len(words) or words[at + 1] == _REST:
            raise BadParameter(f"{what} {text}: '...' stands between two numbers and the last one, as in 0.05,0.1,...,0.25.")
        else:
            found += _between(found[-2], found[-1], _number(words[at + 1], what, text), f"{what} {text}")
    if len(set(found)) < len(found):
        raise BadParameter(f"{what} {text}: a number stands there twice.")
    return tuple(found)


def whole(numbers: tuple[float, ...], what: str) -> tuple[int, ...]:
    """The same numbers, which must be whole.

    >>> whole((1.0, 5.0), "--last")
    (1, 5)
    """
    if odd := [number for number in numbers if number != int(number)]:
        raise BadParameter(f"{what} counts checkpoints, so it must be a whole number, found {odd[0]:g}.")
    return tuple(int(number) for number in numbers)


def _number(word: str, what: str, text: str) -> float:
    try:
        number = float(word)
        int(number)
    except (ValueError, OverflowError) as error:
        raise BadParameter(f"{what} takes numbers, one or several between commas, as in 0.1 or 0.05,0.1,...,0.25; found {text!r}.") from error
    return number


def _between(before: float, last: float, end: float, where: str) -> list[float]:
    step = last - before
    count = (end - last) / step if step else 0.0
    if count < 1 - _CLOSE or abs(count - round(count)) > _CLOSE * max(1.0, abs(count)):
        raise BadParameter(f"{where}: even steps of {step:g} do not lead from {last:g} to {end:g}.")
    return [round(last + step * i, 10) for i in range(1, round(count))]
