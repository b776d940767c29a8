"""Which units may not be multiplied by a number of their own: what an operation says of scales, beside what it says of order.

A unit scales where everything that follows it is positively homogeneous until stored tensors consume it, which are divided. So it
does not where something is added that does not carry it, where units are summed without a stored tensor, where two
activations are multiplied, or where one tensor makes it and consumes it.
"""

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any

from .call import Call
from .labels import Act, Ids, Ledger, depends

#: f(c x, c y) = c f(x, y)
_MIXES = {"cat", "concat", "concatenate", "stack", "select_scatter", "slice_scatter", "copy"}
_ADDITIVE = frozenset({"add", "sub", "rsub", "maximum", "minimum", "where", "masked_fill", *_MIXES})
#: arguments that say where, not what
_WHERE = frozenset({"condition", "mask"})
_REDUCTIONS = frozenset({"sum", "mean", "amax", "amin", "max", "min"})


def note_scales(ledger: Ledger, call: Call, made: Sequence[Act]) -> None:
    """Mark the units that this operation keeps from being scaled."""
    given = {key: value for key, value in call.given.items() if key not in _WHERE}
    if call.name in _ADDITIVE:
        acts = Call(call.name, given, call.shapes).acts
        ledger.unscaled += unshared(acts, call.given.get("dim", 0) if call.name.startswith(("cat", "concat")) else None)
        if any(_shifts(value) for key, value in given.items() if key in ("self", "other", "value")):
            _mark(ledger, acts)
    elif call.name == "prelu":
        ledger.unscaled += [ids.ravel() for ids in call["weight"].labels]
    elif call.name in ("pad", "constant_pad_nd") and _shifts(call.given.get("value")):
        _mark(ledger, call.acts)
    elif call.name in _REDUCTIONS:
        dim = call.given.get("dim")
        axes = range(len(call.act.shape)) if dim is None or dim == [] else [dim] if isinstance(dim, int) else dim
        ledger.unscaled += _along(call.act, axes)
    elif call.name == "einsum" and len(call["tensors"]) == 1:
        _mark(ledger, call.acts)
    for stored in {act.stored for act in call.acts if act.stored}:
        if stored not in [act.stored for act in made]:
            ledger.touched[stored] += 1


def note_product(ledger: Ledger, x: Act, y: Act, summed: Sequence[int]) -> None:
    """Two factors of the same number of axes, multiplied entry by entry and summed over some axes."""
    if not (x.stored or y.stored):
        ledger.unscaled += [*_along(x, summed), *_along(y, summed)]
    for a in x.labels:
        for b in y.labels:
            if (set(depends(a)) & set(depends(b))) - set(summed):
                ledger.unscaled += [a.ravel(), b.ravel()]


def made_and_consumed(ledger: Ledger) -> None:
    """What consumes in one place and is used in another, or consumes along two axes, is neither multiplied nor divided."""
    for (tensor, axis), count in ledger.eaten.items():
        if count < ledger.touched[tensor] or sum(name == tensor for name, _ in ledger.eaten) > 1:
            ledger.unscaled.append(ledger.slots[tensor, axis])


def _mark(ledger: Ledger, acts: Sequence[Act]) -> None:
    ledger.unscaled += [ids.ravel() for act in acts for ids in act.labels]


def _along(act: Act, axes: Sequence[int]) -> list[Ids]:
    wanted = {axis % len(act.shape) for axis in axes} if act.shape else set()
    return [ids.ravel() for ids in act.labels if set(depends(ids)) & wanted]


def unshared(acts: Sequence[Act], along: int | None = None) -> Iterator[Ids]:
    """Units that one of the acts carries and another does not; along the axis of a concatenation each has its own."""
    reach = [{axis - ids.ndim for ids in act.labels for axis in depends(ids)} for act in acts]
    for act in acts:
        for ids in act.labels:
            mine = {axis - ids.ndim for axis in depends(ids)} - ({along % ids.ndim - ids.ndim} if along is not None else set())
            if any(not mine <= other for other in reach):
                yield ids.ravel()


def _shifts(value: Any) -> bool:
    """A number that is not 0 and not infinite."""
    return isinstance(value, int | float) and value != 0 and isfinite(value)
