"""Algebra of weight sets, lazy and tensor by tensor. Results carry unrounded blocks; rounding happens once, on reading out.

`+` and `-` need the same names, shapes and ties on both sides and have the promoted dtype of both. Integer and boolean
tensors are never added: they must be left out (`select`) or handled by `combine`.
"""

from collections.abc import Callable, Mapping

import torch

from ..errors import BadParameter, IntegersDiffer, NamesDiffer, ShapesDiffer, TiesDiffer, unknown
from .names import difference, listed, matches
from .spec import Block, Spec
from .weights import Changes, Weights


def agree(left: Weights, right: Weights) -> None:
    """Raise unless both sets have the same names, shapes and ties."""
    sides = f"{left.label or 'the first set'} and {right.label or 'the second set'}"
    if lacking := difference(left.names, right.names):
        raise NamesDiffer(f"{sides} hold different tensors: {lacking}; select or rename them first.")
    for name in left.names:
        a, b = left.spec[name].shape, right.spec[name].shape
        if a != b:
            raise ShapesDiffer(f"tensor {name!r} has shapes {[a, b]} in {sides}; align or resize them first.")
    if apart := _sharing(left) ^ _sharing(right):
        raise TiesDiffer(f"{listed(frozenset().union(*apart))} shared with another name in one of {sides} only; untie() the one where it is shared.")


def _sharing(weights: Weights) -> set[frozenset[str]]:
    """The groups of names that share a tensor; which of them owns it says only how the set was made."""
    groups = {owner: {owner} for owner in weights.ties.values()}
    for alias, owner in weights.ties.items():
        groups[owner].add(alias)
    return set(map(frozenset, groups.values()))


def add(left: Weights, right: Weights) -> Weights:
    """Entry by entry `left + right`."""
    return _pairwise("+", left, right, torch.add)


def subtract(left: Weights, right: Weights) -> Weights:
    """Entry by entry `left - right`: a task vector where `right` is the base."""
    return _pairwise("-", left, right, torch.sub)


def scale(weights: Weights, factor: float) -> Weights:
    """Every entry times `factor`."""
    refuse_integers(weights)

    def open_(name: str) -> Block:
        read = working(weights, name)
        return lambda lo, hi: read(lo, hi) * factor

    return _like(weights, open_, ("*", weights, float(factor)))


def working(weights: Weights, name: str) -> Block:
    """Open a tensor so that blocks come in the dtype of arithmetic; still never write into them."""
    read, work = weights.open(name), weights.spec[name].work
    return lambda lo, hi: read(lo, hi).to(work)


def mapped(weights: Weights, edit: Changes | Callable[[str, Spec, Block], Block]) -> Weights:
    """Every physical tensor through an edit, or through a function of (name, spec, block)."""
    over = getattr(edit, "over", None)
    return _like(weights, over(weights) if over else each(weights, edit), ("map", weights, edit))  # type: ignore[arg-type]


def each(weights: Weights, bind: Callable[[str, Spec, Block], Block]) -> Callable[[str], Block]:
    """Every tensor through a function of it alone."""
    return lambda name: bind(name, weights.spec[name], working(weights, name))


def select(weights: Weights, *patterns: str) -> Weights:
    """The tensors whose names match any of the patterns. A pattern that matches nothing is an error."""
    for pattern in patterns:
        if not any(matches(pattern, name) for name in weights.names):
            raise unknown("tensor that matches", pattern, weights.names)
    return keep(weights, [name for name in weights.names if any(matches(pattern, name) for pattern in patterns)])


def keep(weights: Weights, names: "list[str] | tuple[str, ...]") -> Weights:
    """Exactly these tensors, in this order. An alias whose owner is left out owns the tensor from then on."""
    heirs: dict[str, str] = {}
    ties: dict[str, str] = {}
    for name in names:
        owner = weights.ties.get(name, name)
        if heirs.setdefault(owner, name) != name:
            ties[name] = heirs[owner]
    spec = {name: weights.spec[name] for name in names}
    return Weights(spec, weights.open, ties=ties, origin=("keep", weights, *names), label=weights.label, sources=weights.sources)


def rename(weights: Weights, names: Callable[[str], str] | Mapping[str, str]) -> Weights:
    """The same tensors under other names. Two tensors under one name are an error."""
    if isinstance(names, Mapping):
        for old in names:
            if old not in weights:
                raise unknown("tensor", old, weights.names)
    new = {old: names(old) if callable(names) else names.get(old, old) for old in weights.names}
    old_of = {fresh: old for old, fresh in new.items()}
    if len(old_of) != len(new):
        twice = [fresh for old, fresh in new.items() if old_of[fresh] != old]
        raise BadParameter(f"renaming gives several tensors one name: {listed(twice)}.")
    spec = {new[name]: spec for name, spec in weights.spec.items()}
    ties = {new[alias]: new[owner] for alias, owner in weights.ties.items()}
    origin = ("rename", weights, *new.values())
    return Weights(spec, lambda name: weights.open(old_of[name]), ties=ties, origin=origin, label=weights.label, sources=weights.sources)


def union(*parts: Weights) -> Weights:
    """One set out of several that hold different names."""
    home: dict[str, Weights] = {}
    for part in parts:
        if twice := [name for name in part.names if name in home]:
            raise NamesDiffer(f"several of the sets hold {listed(twice)}; a union needs different names.")
        home |= dict.fromkeys(part.names, part)
    spec = {name: part.spec[name] for name, part in home.items()}
    ties = {alias: owner for part in parts for alias, owner in part.ties.items()}
    sources = tuple(dict.fromkeys(source for part in parts for source in part.sources))
    return Weights(spec, lambda name: home[name].open(name), ties=ties, origin=("union", *parts), sources=sources)


def untie(weights: Weights) -> Weights:
    """Give every name a tensor of its own. It costs the bytes of the aliases: `untie(w).nbytes - w.nbytes`."""
    return Weights(weights.spec, weights.open, origin=("untie", weights), label=weights.label, sources=weights.sources)


def cast_to(weights: Weights, dtype: torch.dtype) -> Weights:
    """Promise another dtype for the floating tensors; they are rounded once, on reading out."""
    spec = {name: Spec(s.shape, dtype) if s.averages else s for name, s in weights.spec.items()}
    origin = ("cast", weights, str(dtype))
    return Weights(spec, weights.open, ties=weights.ties, origin=origin, label=weights.label, sources=weights.sources)


def floating(weights: Weights) -> Weights:
    """The tensors that can be averaged: those of a floating dtype."""
    return keep(weights, [name for name, spec in weights.spec.items() if spec.averages])


def refuse_integers(weights: Weights) -> None:
    """Raise where a set holds integer or boolean tensors, or codes of quantised weights, which have no arithmetic here."""
    if whole := [name for name, spec in weights.spec.items() if not spec.averages]:
        dtypes = ", ".join(sorted({str(weights.spec[name].dtype).removeprefix("torch.") for name in whole}))
        raise IntegersDiffer(f"integer or boolean tensors and codes ({dtypes}) have no arithmetic: {listed(whole)}; leave them out with select().")


def _pairwise(sign: str, left: Weights, right: Weights, function: Callable[..., torch.Tensor]) -> Weights:
    agree(left, right)
    refuse_integers(left)
    refuse_integers(right)
    spec = {name: Spec(s.shape, torch.promote_types(s.dtype, right.spec[name].dtype)) for name, s in left.spec.items()}

    def open_(name: str) -> Block:
        a, b, work = left.open(name), working(right, name), left.spec[name].work

        def block(lo: int, hi: int) -> torch.Tensor:
            stored, other = a(lo, hi), b(lo, hi)
            entries = stored.to(work)
            own = entries is not stored and entries.dtype == other.dtype and not stored.requires_grad
            return function(entries, other, out=entries if own else None)

        return block

    sources = tuple(dict.fromkeys(left.sources + right.sources))
    return Weights(spec, open_, ties=left.ties, origin=(sign, left, right), label=f"({left.label} {sign} {right.label})", sources=sources)


def _like(weights: Weights, open_: Callable[[str], Block], origin: tuple[object, ...]) -> Weights:
    return Weights(weights.spec, open_, ties=weights.ties, origin=origin, label=weights.label, sources=weights.sources)
