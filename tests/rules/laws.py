"""The laws that rules keep, each written once. `law(rule, sets)` asserts it."""

from collections.abc import Callable

import torch

from loomweight.rules import Rule, combine

State = dict[str, torch.Tensor]
Law = Callable[[Rule, list[State]], None]


def result(rule: Rule, sets: list[State]) -> State:
    return dict(combine(sets, rule).items())


def close(left: State, right: State, sets: list[State]) -> None:
    size = max(float(t.abs().max()) for s in sets for t in s.values())
    for name in left:
        torch.testing.assert_close(left[name], right[name], rtol=1e-4, atol=1e-5 * size)


def keeps_agreement(rule: Rule, sets: list[State]) -> None:
    """Equal sets are returned as they are."""
    close(result(rule, [sets[0]] * len(sets)), sets[0], sets)


def ignores_order(rule: Rule, sets: list[State]) -> None:
    """The sets in another order give the same."""
    close(result(rule, sets), result(rule, sets[::-1]), sets)


def moves_with_the_sets(rule: Rule, sets: list[State]) -> None:
    """Adding one set to all adds it to the result."""
    shift = {name: torch.linspace(-1, 1, t.numel()).reshape(t.shape) * sets[0][name].abs().mean() for name, t in sets[0].items()}
    moved = [{name: t + shift[name] for name, t in s.items()} for s in sets]
    close(result(rule, moved), {name: t + shift[name] for name, t in result(rule, sets).items()}, moved)


def scales_with_the_sets(rule: Rule, sets: list[State]) -> None:
    """All sets times 4 give the result times 4."""
    scaled = [{name: 4 * t for name, t in s.items()} for s in sets]
    close(result(rule, scaled), {name: 4 * t for name, t in result(rule, sets).items()}, scaled)


def flips_with_the_sets(rule: Rule, sets: list[State]) -> None:
    """All sets negated give the result negated."""
    flipped = [{name: -t for name, t in s.items()} for s in sets]
    close(result(rule, flipped), {name: -t for name, t in result(rule, sets).items()}, flipped)


def stays_in_range(rule: Rule, sets: list[State]) -> None:
    """No entry leaves the range that the sets span there."""
    for name, value in result(rule, sets).items():
        stack = torch.stack([s[name] for s in sets])
        slack = 1e-5 * stack.abs().max()
        assert (value >= stack.amin(0) - slack).all() and (value <= stack.amax(0) + slack).all(), name


def leaves_inputs_alone(rule: Rule, sets: list[State]) -> None:
    """The inputs are the same to the bit afterwards."""
    before = [{name: t.clone() for name, t in s.items()} for s in sets]
    result(rule, sets)
    assert all(torch.equal(t, old[name]) for s, old in zip(sets, before, strict=True) for name, t in s.items())


def same_in_any_name_order(rule: Rule, sets: list[State]) -> None:
    """The order of names changes no bit."""
    turned = [dict(reversed(s.items())) for s in sets]
    left, right = result(rule, sets), result(rule, turned)
    assert all(torch.equal(left[name], right[name]) for name in left)


def repeats(rule: Rule, sets: list[State]) -> None:
    """Twice the same call, twice the same bits, whole or by blocks."""
    left, right = result(rule, sets), combine(sets, rule)
    for name, value in left.items():
        read, n = right.open(name), value.numel()
        parts = torch.cat([read(lo, min(lo + 2, n)) for lo in range(0, n, 2)])
        torch.testing.assert_close(parts.reshape(value.shape).to(value.dtype), value, rtol=1e-6, atol=0)


ALL: frozenset[Law] = frozenset(
    {
        keeps_agreement,
        ignores_order,
        moves_with_the_sets,
        scales_with_the_sets,
        flips_with_the_sets,
        stays_in_range,
        leaves_inputs_alone,
        same_in_any_name_order,
        repeats,
    }
)
#: what even a random or order-bound rule keeps
ALWAYS: frozenset[Law] = frozenset({leaves_inputs_alone, same_in_any_name_order, repeats})
