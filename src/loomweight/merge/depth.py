"""Networks of other depth: what is known of the result before any data is read."""

import re
from collections.abc import Collection

from ..weights import Spec, Weights
from ..weights.axes import Axes

_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")


def check_depths(tables: tuple[Axes, Axes], moving: Weights, reference: Weights) -> None:
    """Raise unless layers correspond, by names and shapes alone.

    Raises:
        NamesDiffer: tensors outside of the layers differ.
        ShapesDiffer: tensors that would stand for one another have different axes.
        BadParameter: layers of one kind are missing, cannot be added, or would have to be merged, which needs data.
    """
    from ..align.plan_depth import Depth  # it brings SciPy along

    depth = Depth(tables[0], moving, tables[1], reference)
    depth.match(None, None)
    depth.balance()


def other_depth(whole: Weights, moving: Weights, reference: Weights) -> tuple[dict[str, Spec], dict[str, str]]:
    """What a set holds in the depth of a reference, and which of its names share a tensor.

    Names and shapes are the reference's, dtypes those of the moving set: of the tensor of that name, of another layer's, or of its
    first averaged tensor. What was left out of the alignment stays.

    Args:
        whole: the moving set.
        moving: what of it is aligned.
        reference: what of the reference is.
    """
    alike = {_NUMBER.sub("*", name): spec.dtype for name, spec in moving.spec.items()}
    usual = next((spec.dtype for spec in moving.spec.values() if spec.averages), None)

    def spec(name: str) -> Spec:
        there = reference.spec[name]
        own = moving.spec[name].dtype if name in moving else alike.get(_NUMBER.sub("*", name))
        return Spec(there.shape, own or (usual if there.averages else None) or there.dtype)

    left = {name: whole.spec[name] for name in whole.names if name not in moving}
    ties = {alias: owner for alias, owner in reference.ties.items() if moving.ties.get(alias) == owner}
    return {name: spec(name) for name in reference.names} | left, ties | {a: o for a, o in whole.ties.items() if a in left and o in left}


def deeper_stack(here: Collection[str], there: Collection[str], common: Collection[str]) -> str | None:
    """The pattern of the layers that one of two networks has more of; None where names differ in anything but layers' numbers.

    Args:
        here: names that only the one holds.
        there: names that only the other holds.
        common: names of both.

    >>> deeper_stack(["h.2.w", "h.2.b"], [], ["h.0.w", "h.0.b", "h.1.w", "h.1.b"]), deeper_stack(["h.2.w"], [], ["h.0.b"])
    ('h.*', None)
    """
    known = {_NUMBER.sub("*", name) for name in common}
    stacks = {name[: found.end()] for name in (_NUMBER.sub("*", name) for name in (*here, *there)) if name in known and (found := re.search(r"\*", name))}
    if len(stacks) != 1 or any(_NUMBER.sub("*", name) not in known for name in (*here, *there)):
        return None
    return stacks.pop()
