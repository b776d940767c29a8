"""n weight sets and a rule -> one weight set, lazily."""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor

from ..engines import current
from ..errors import BadParameter, DtypesDiffer, IntegersDiffer, TooFewSets
from ..weights import Block, Spec, Weights, cast_to, floating
from ..weights.algebra import agree
from ..weights.names import listed
from ..weights.spec import CODED, comparable, spans
from .rule import Rule
from .sets import Nonfinite, Sets, guarded


def combine(
    sets: "Iterable[Weights | Mapping[str, Tensor]]",
    rule: Rule,
    *,
    nonfinite: Nonfinite = "raise",
    integers: Literal["equal", "first"] = "equal",
    dtype: torch.dtype | None = None,
    on_drop: Callable[[int, str], None] | None = None,
) -> Weights:
    """Combine weight sets by a rule. Only headers are read, except where the rule needs a pass over all data first.

    Args:
        sets: `Weights` or state dicts with the same names, shapes and ties.
        rule: see `loomweight.rules`.
        nonfinite: what NaN and Inf in the input do: "raise", "drop" the set (counted against f), or "mask" the entry.
        integers: integer and boolean tensors, and codes (float4, float8_e8m0fnu), are never averaged: they must be "equal", or the "first" set's are taken.
        dtype: dtype of the result's floating tensors; by default that of the inputs, which must then agree.
        on_drop: called with the number of each set that is dropped, and a tensor in which it holds NaN or Inf.

    Raises:
        NamesDiffer, ShapesDiffer, TiesDiffer, DtypesDiffer, IntegersDiffer: the sets do not agree; the message says where.
        TooFewSets, BadParameter: the rule is not defined for this many sets or these parameters.
        NonFinite: NaN or Inf in an input, on reading.

    >>> from loomweight.rules import Mean
    >>> combine([{"w": torch.tensor([1.0, 5.0])}, {"w": torch.tensor([3.0, 7.0])}], Mean())["w"]
    tensor([2., 6.])
    """
    members = [w if isinstance(w, Weights) else Weights.of(w, label=f"set {i}") for i, w in enumerate(sets)]
    if not members:
        raise TooFewSets("there is no weight set to combine; give at least one.")
    if nonfinite not in ("raise", "drop", "mask") or integers not in ("equal", "first"):
        raise BadParameter(f"nonfinite must be raise, drop or mask and integers equal or first, found {nonfinite!r} and {integers!r}.")
    for other in members[1:]:
        agree(members[0], other)
    members = members if dtype is None else [cast_to(w, dtype) for w in members]
    _same_dtypes(members)
    whole = [name for name in members[0].physical if not members[0].spec[name].averages]
    floats = [floating(w) for w in members]
    rule.check(len(floats))
    if nonfinite == "drop":
        rule, floats = _dropped(rule, floats, on_drop or (lambda index, name: None))
    read = rule.bind(Sets(tuple(floats if nonfinite == "mask" else map(guarded, floats)), "mask" if nonfinite == "mask" else "raise"))

    def open_(name: str) -> Block:
        if members[0].spec[name].averages:
            return read(name)
        return members[0].open(name) if integers == "first" else _equal(members, name)

    first = members[0]
    sources = tuple(dict.fromkeys(source for w in members for source in w.sources))
    origin = ("combine", rule, nonfinite, integers, str(whole), *members)
    return Weights(first.spec, open_, ties=first.ties, origin=origin, sources=sources)


def _same_dtypes(members: list[Weights]) -> None:
    for name in members[0].names:
        dtypes = [w.spec[name].dtype for w in members]
        if len(set(dtypes)) > 1:
            raise DtypesDiffer(f"tensor {name!r} has dtypes {[str(d).removeprefix('torch.') for d in dtypes]}; say which the result shall have (dtype=...).")


def _equal(members: list[Weights], name: str) -> Block:
    """Open an integer tensor that all members hold alike."""
    spec: Spec = members[0].spec[name]
    reads = [w.open(name) for w in members]
    for lo, hi in spans(spec.numel):
        first = reads[0](lo, hi)
        for other, read in zip(members[1:], reads[1:], strict=True):
            if not torch.equal(comparable(first), comparable(read(lo, hi))):
                what = "codes are never averaged: dequantise the models," if spec.dtype in CODED else "integers are never averaged:"
                raise IntegersDiffer(
                    f"{str(spec.dtype).removeprefix('torch.')} tensor {name!r} differs between {members[0].label or 'set 0'} and"
                    f" {other.label or 'another set'}; {what} take the first set's (integers='first') or leave it out."
                )
    return reads[0]


def _dropped(rule: Rule, members: list[Weights], on_drop: Callable[[int, str], None]) -> tuple[Rule, list[Weights]]:
    """The rule and the members without those that hold NaN or Inf."""
    bad = _unsound(members)
    kept = [i for i in range(len(members)) if i not in bad]
    fewer = rule.restricted(kept, len(members))
    try:
        fewer.check(len(kept))
    except TooFewSets as error:
        left_out = listed(w.label or f"set {i}" for i, w in enumerate(members) if i not in kept)
        raise TooFewSets(f"{error} Left out, because they hold NaN or Inf: {left_out}; mend them, or leave them out of the merge.") from error
    for index, name in bad.items():
        on_drop(index, name)
    return fewer, [members[i] for i in kept]


def _unsound(members: list[Weights]) -> dict[int, str]:
    """Which members hold NaN or Inf, and their first tensor that does: one pass over all data."""

    def sound(task: tuple[int, str]) -> bool:
        index, name = task
        read = members[index].open(name)
        return all(bool(torch.isfinite(read(lo, hi)).all()) for lo, hi in spans(members[index].spec[name].numel))

    tasks = [(i, name) for i, w in enumerate(members) for name in w.physical]
    bad: dict[int, str] = {}
    for (index, name), ok in zip(tasks, current().map(sound, tasks), strict=True):
        if not ok:
            bad.setdefault(index, name)
    if len(bad) == len(members):
        raise TooFewSets(f"every set holds NaN or Inf: {listed(w.label or f'set {i}' for i, w in enumerate(members))}; none is left.")
    return bad
