"""The laws that edits keep, each written once. `law(edit, state)` asserts it."""

from collections.abc import Callable

import torch

from loomweight.edits import Edit
from loomweight.weights import Weights

State = dict[str, torch.Tensor]
Law = Callable[[Edit, State], None]


def result(edit: Edit, state: State) -> State:
    return dict(edit(Weights.of(state)).items())


def same(left: State, right: State) -> None:
    for name in left:
        assert torch.equal(left[name], right[name]), (name, left[name], right[name])


def close(left: State, right: State, state: State) -> None:
    size = max(float(t.abs().max()) for t in state.values())
    for name in left:
        torch.testing.assert_close(left[name], right[name], rtol=1e-5, atol=1e-6 * size)


def pieces(weights: Weights, name: str) -> torch.Tensor:
    """The tensor put together from blocks of 1, 2, 3, ... entries."""
    read, spec, parts, lo = weights.open(name), weights.spec[name], [], 0
    while lo < spec.numel:
        hi = min(lo + len(parts) + 1, spec.numel)
        parts.append(read(lo, hi))
        lo = hi
    return torch.cat(parts).reshape(spec.shape).to(spec.dtype)


def leaves_inputs_alone(edit: Edit, state: State) -> None:
    """The input is the same to the bit afterwards, and the output is not its memory."""
    before = {name: t.clone() for name, t in state.items()}
    result(edit, state)
    same(state, before)


def keeps_the_spec(edit: Edit, state: State) -> None:
    """Names, shapes and dtypes stay."""
    weights = Weights.of(state)
    assert edit(weights).spec == weights.spec
    assert {name: (t.shape, t.dtype) for name, t in result(edit, state).items()} == {name: (t.shape, t.dtype) for name, t in state.items()}


def same_in_any_name_order(edit: Edit, state: State) -> None:
    """The order of names changes no bit."""
    same(result(edit, state), result(edit, dict(reversed(state.items()))))


def repeats(edit: Edit, state: State) -> None:
    """Twice the same call, twice the same bits."""
    same(result(edit, state), result(edit, state))


def close_by_blocks(edit: Edit, state: State) -> None:
    """Any block alone is that part of the whole, up to the order of sums in a matrix product."""
    edited = edit(Weights.of(state))
    for name, whole in result(edit, state).items():
        close({name: pieces(edited, name)}, {name: whole}, state)


def same_by_blocks(edit: Edit, state: State) -> None:
    """Any block alone is that part of the whole, to the bit."""
    edited = edit(Weights.of(state))
    same({name: pieces(edited, name) for name in edited}, result(edit, state))


def keeps_zeros(edit: Edit, state: State) -> None:
    """Where the input is 0 everywhere, so is the output."""
    assert not any(t.any() for t in result(edit, {name: torch.zeros_like(t) for name, t in state.items()}).values())


def flips_with_the_set(edit: Edit, state: State) -> None:
    """The negated set gives the negated result."""
    close(result(edit, {name: -t for name, t in state.items()}), {name: -t for name, t in result(edit, state).items()}, state)


def scales_with_the_set(edit: Edit, state: State) -> None:
    """The set times 4 gives the result times 4."""
    larger = {name: 4 * t for name, t in state.items()}
    close(result(edit, larger), {name: 4 * t for name, t in result(edit, state).items()}, larger)


def takes_away_only(edit: Edit, state: State) -> None:
    """Every entry is 0 or what it was."""
    for name, value in result(edit, state).items():
        assert ((value == 0) | (value == state[name])).all(), name


def lengthens_none(edit: Edit, state: State) -> None:
    """No tensor's norm grows."""
    for name, value in result(edit, state).items():
        assert value.norm() <= state[name].norm() * (1 + 1e-6), name


def settles(edit: Edit, state: State) -> None:
    """Done twice is done once."""
    once = result(edit, state)
    close(result(edit, once), once, state)


ALWAYS: frozenset[Law] = frozenset({leaves_inputs_alone, keeps_the_spec, same_in_any_name_order, repeats, close_by_blocks, keeps_zeros})
LINEAR: frozenset[Law] = frozenset({same_by_blocks, flips_with_the_set, scales_with_the_set})
ALL: frozenset[Law] = ALWAYS | LINEAR | frozenset({takes_away_only, lengthens_none, settles})
