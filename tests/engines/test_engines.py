"""Every engine does the same: order kept, first error raised, errors of users given back where that is asked for."""

import pytest

from loomweight.engines import Engine, Inline, Ray, Threads, engine_named
from loomweight.errors import BadParameter, LoomweightError, MissingExtra, UnknownName


def halved(number: int) -> float:
    if number < 0:
        raise BadParameter(f"{number} is negative")
    return 6 / number


@pytest.mark.parametrize("engine", [Inline(), Threads(1), Threads(3)])
def test_order_is_kept_and_the_first_error_ends_the_map(engine: Engine) -> None:
    assert list(engine.map(halved, [1, 2, 3])) == [6, 3, 2]
    results = engine.map(halved, iter([1, -5, 0]))
    assert next(results) == 6
    with pytest.raises(BadParameter, match="-5 is negative"):
        next(results)


@pytest.mark.parametrize("engine", [Inline(), Threads(3)])
def test_an_attempt_gives_users_errors_back_and_raises_others(engine: Engine) -> None:
    one, two, three = engine.attempt(halved, [1, -5, 3])
    assert (one, three) == (6, 2)
    assert isinstance(two, LoomweightError) and "-5 is negative" in str(two)
    with pytest.raises(ZeroDivisionError):
        list(engine.attempt(halved, [1, 0, 3]))


def test_engines_by_name() -> None:
    assert engine_named("inline") == Inline()
    assert engine_named("threads") == Threads()
    assert engine_named("ray:4") == Ray(4)
    with pytest.raises(UnknownName, match="nearest: 'threads'"):
        engine_named("thread")
    for words in ("ray:0", "ray:", "threads:two", "inline:2", "threads:-1"):
        with pytest.raises(BadParameter, match="found '" + words):
            engine_named(words)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install 'loomweight\[ray\]'"):
        list(Ray(1).map(halved, [1]))


def test_no_workers_at_all() -> None:
    with pytest.raises(BadParameter, match="at least 1"):
        Ray(0)
