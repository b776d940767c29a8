"""Operations that only move data: the same move on the label arrays."""

from collections.abc import Sequence

import numpy as np

from .call import Call, Made
from .labels import Act, Ids, Ledger
from .meeting import entwined, joined, part, placed, reshaped, settled


def same(ledger: Ledger, call: Call) -> Made:
    """Nothing moves (contiguous, to, dropout). Whole numbers are rounded to, which no scale outlives."""
    dtype = call.given.get("dtype")
    if "other" in call.given or (dtype is not None and not (dtype.is_floating_point or dtype.is_complex)):
        ledger.unscaled += [ids.ravel() for ids in call.acts[0].labels]
    return call.act


def view(ledger: Ledger, call: Call) -> Made:
    """Another shape for the same entries in the same order: view, flatten, squeeze, ..."""
    return reshaped(call.act, call.shape)


def permute(ledger: Ledger, call: Call) -> Made:
    """Axes in another order."""
    dims = [dim % len(call.act.shape) for dim in call["dims"]]
    return call.act.moved(lambda ids: ids.transpose(dims), call.shape)


def transpose(ledger: Ledger, call: Call) -> Made:
    """Two axes exchanged."""
    return call.act.moved(lambda ids: ids.swapaxes(call["dim0"], call["dim1"]), call.shape)


def turned(ledger: Ledger, call: Call) -> Made:
    """Matrix transpose."""
    return call.act.moved(lambda ids: ids.T, call.shape) if len(call.act.shape) < 3 else call.act.moved(lambda ids: ids.swapaxes(-1, -2), call.shape)


def movedim(ledger: Ledger, call: Call) -> Made:
    """Axes moved to other places."""
    return call.act.moved(lambda ids: np.moveaxis(ids, call["source"], call["destination"]), call.shape)


def expand(ledger: Ledger, call: Call) -> Made:
    """Copies along an axis: they carry no units of their own."""
    new = len(call.shape) - len(call.act.shape)
    return call.act.moved(lambda ids: ids.reshape((1,) * new + ids.shape), call.shape)


def repeat(ledger: Ledger, call: Call) -> Made:
    """Copies one after another."""
    new = len(call.shape) - len(call.act.shape)
    return call.act.moved(lambda ids: _tiled(ids.reshape((1,) * new + ids.shape), call["repeats"]), call.shape)


def _tiled(ids: Ids, repeats: Sequence[int]) -> Ids:
    return np.tile(ids, [times if size > 1 else 1 for times, size in zip(repeats, ids.shape, strict=True)])


def repeat_interleave(ledger: Ledger, call: Call) -> Made:
    """Every entry several times in a row."""
    axis = call["dim"]
    return call.act.moved(lambda ids: np.repeat(ids, call["repeats"], axis) if ids.shape[axis] > 1 else ids, call.shape)


def slice_(ledger: Ledger, call: Call) -> Made:
    """Every step-th entry from start to end."""
    return _cut(ledger, call.act, call["dim"], slice(call["start"], call["end"], call["step"]), call.shape)


def narrow(ledger: Ledger, call: Call) -> Made:
    """`length` entries from start."""
    return _cut(ledger, call.act, call["dim"], slice(call["start"], call["start"] + call["length"]), call.shape)


def _cut(ledger: Ledger, act: Act, axis: int, piece: slice, shape: Sequence[int]) -> Act:
    where = [slice(None)] * len(act.shape)
    where[axis] = piece
    return part(ledger, act, lambda ids: ids[tuple(where)] if ids.shape[axis] > 1 else ids, shape)


def select(ledger: Ledger, call: Call) -> Made:
    """One entry of an axis, which goes."""
    axis, index = call["dim"], call["index"]
    return part(ledger, call.act, lambda ids: taken(ids, index, axis), call.shape)


def taken(ids: Ids, index: int, axis: int) -> Ids:
    """One entry of an axis, where the array varies along it."""
    return np.asarray(ids.take(index if ids.shape[axis] > 1 else 0, axis))


def flip(ledger: Ledger, call: Call) -> Made:
    """Backwards along some axes."""
    return call.act.moved(lambda ids: np.flip(ids, call["dims"]), call.shape)


def roll(ledger: Ledger, call: Call) -> Made:
    """Round in a ring."""
    return call.act.moved(lambda ids: np.roll(ids, call["shifts"], tuple(call["dims"]) or None), call.shape) if call["dims"] else None


def split(ledger: Ledger, call: Call) -> Made:
    """Parts along an axis, of the sizes that the results have."""
    axis, begin, parts = call["dim"], 0, []
    for shape in call.shapes:
        parts.append(_cut(ledger, call.act, axis, slice(begin, begin + shape[axis]), shape))
        begin += shape[axis]
    return tuple(parts)


def unbind(ledger: Ledger, call: Call) -> Made:
    """Every entry of an axis alone."""
    axis = call["dim"]
    return tuple(part(ledger, call.act, lambda ids, i=i: taken(ids, i, axis), shape) for i, shape in enumerate(call.shapes))


def cat(ledger: Ledger, call: Call) -> Made:
    """One after another."""
    return joined(ledger, call["tensors"], call["dim"])


def stack(ledger: Ledger, call: Call) -> Made:
    """One after another along a new axis."""
    axis = call["dim"] % len(call.shape)
    shape = [1 if i == axis else size for i, size in enumerate(call.shape)]
    return joined(ledger, [reshaped(act, shape) for act in call["tensors"]], axis)


def pad(ledger: Ledger, call: Call) -> Made:
    """Constant entries before and after: along the other axes they are the same for every unit."""
    act, sizes = call.act, call["pad"]
    if min(sizes) < 0:
        return None
    if call.given.get("mode", "constant") != "constant":
        axes = range(len(act.shape) - len(sizes) // 2, len(act.shape))
        return placed(ledger, settled(ledger, act, axes), axes, call.shape)
    for step in range(len(sizes) // 2):
        axis, (before, after) = len(act.shape) - 1 - step, sizes[2 * step : 2 * step + 2]
        if before or after:
            act = _framed(ledger, act, axis, before, after)
    return act


def _framed(ledger: Ledger, act: Act, axis: int, before: int, after: int) -> Act:
    """An activation between constant entries, which are places of their own."""
    ends = ledger.fresh(before + after + 1)
    ledger.frozen.append((ends, ""))
    line = [-1 if i == axis else 1 for i in range(len(act.shape))]
    first, middle, last = (ids.reshape(line) for ids in np.split(ends, [before, before + 1]))

    def between(ids: Ids) -> Ids:
        return np.concatenate([np.broadcast_to(end, [end.shape[i] if i == axis else n for i, n in enumerate(ids.shape)]) for end in (first, ids, last)], axis)

    labels = [between(ids) for ids in act.labels if ids.shape[axis] > 1] + [between(np.repeat(middle, act.shape[axis], axis))]
    entwined(ledger, labels)
    rest = [ids for ids in act.labels if ids.shape[axis] == 1]
    return Act(tuple(n + (before + after) * (i == axis) for i, n in enumerate(act.shape)), ledger.kept([*labels, *rest]))


def constant(ledger: Ledger, call: Call) -> Made:
    """One value everywhere."""
    return Act(call.shape)


def copy(ledger: Ledger, call: Call) -> Made:
    """The second in the shape of the first."""
    source = call["src"]
    new = len(call.shape) - len(source.shape)
    return source.moved(lambda ids: ids.reshape((1,) * new + ids.shape), call.shape)


def scatter(ledger: Ledger, call: Call) -> Made:
    """The first with a part of an axis replaced by the second."""
    act, new, axis = call["self"], call["src"], call["dim"] % len(call.shape)
    size = call.shape[axis]
    if "index" in call.given:
        begin = call["index"] % size
        end, new = begin + 1, reshaped(new, [1 if i == axis else n for i, n in enumerate(call.shape)])
    else:
        begin, end, step = slice(call["start"], call["end"], call["step"]).indices(size)
        if step != 1:
            return None
    pieces = [(0, begin), (end, size)]
    before, after = ([_cut(ledger, act, axis, slice(a, b), [b - a if i == axis else n for i, n in enumerate(call.shape)])] if b > a else [] for a, b in pieces)
    return joined(ledger, [*before, new, *after], axis) if before or after else new


_COPIES = (
    "contiguous clone to detach alias dropout feature_dropout alpha_dropout feature_alpha_dropout _to_copy lift_fresh_copy lift_fresh "
    "type_as bfloat16 float double half"
)
_CONSTANTS = "zero zeros ones full empty scalar_tensor zeros_like ones_like full_like empty_like new_zeros new_ones new_full new_empty"

MOVES = {
    **dict.fromkeys(_COPIES.split(), same),
    **dict.fromkeys(["view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze", "ravel", "view_as", "reshape_as"], view),
    **dict.fromkeys(["expand", "expand_as", "broadcast_to"], expand),
    **dict.fromkeys(["transpose", "swapaxes", "swapdims"], transpose),
    **dict.fromkeys(["t", "numpy_T", "mT", "adjoint"], turned),
    **dict.fromkeys(["split", "split_with_sizes", "chunk", "tensor_split", "unsafe_split", "unsafe_chunk", "unsafe_split_with_sizes"], split),
    **dict.fromkeys(["cat", "concat", "concatenate"], cat),
    **dict.fromkeys(["pad", "constant_pad_nd"], pad),
    **dict.fromkeys(_CONSTANTS.split(), constant),
    **dict.fromkeys(["select_scatter", "slice_scatter"], scatter),
    "copy": copy,
    "permute": permute,
    "movedim": movedim,
    "repeat": repeat,
    "repeat_interleave": repeat_interleave,
    "slice": slice_,
    "narrow": narrow,
    "select": select,
    "flip": flip,
    "roll": roll,
    "unbind": unbind,
    "stack": stack,
}
