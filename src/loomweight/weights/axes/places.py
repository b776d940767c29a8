"""Operations that tell entries apart by where they stand: what they touch stays, what lies along the other axes is free."""

import numpy as np

from .call import Call, Made
from .labels import Act, Ledger
from .meeting import meet, part, placed, reshaped, settled


def placewise(ledger: Ledger, call: Call) -> Made:
    """Along some axes: cumulative sums, sorting, the largest few, Fourier transforms."""
    dims = call.given.get("dim", call.given.get("dims"))
    axes = list(range(len(call.act.shape))) if dims is None else [dims] if isinstance(dims, int) else list(dims)
    rest = settled(ledger, call.act, axes, f"{call.name} tells its entries apart")
    ledger.unscaled += [ids.ravel() for ids in call.act.labels]
    made = tuple(placed(ledger, rest, axes, shape) if len(shape) == len(rest.shape) else reshaped(rest, shape) for shape in call.shapes)
    return made[0] if len(made) == 1 else made


def triangle(ledger: Ledger, call: Call) -> Made:
    """Zeros on one side of a diagonal."""
    axes = [len(call.shape) - 2, len(call.shape) - 1]
    return placed(ledger, settled(ledger, call.act, axes, f"{call.name} tells its entries apart"), axes, call.shape)


def index_select(ledger: Ledger, call: Call) -> Made:
    """Entries of one axis by number."""
    ledger.freeze(call["index"], "it is used to look up entries")
    return placed(ledger, settled(ledger, call["self"], [call["dim"]], "entries are looked up by number"), [call["dim"]], call.shape)


def index(ledger: Ledger, call: Call) -> Made:
    """x[..., i, j]: the axes that are indexed, side by side, become the axes of the indices. Numbers in the code itself (`x[:, [-1]]`) are known."""
    x, given = call["self"], list(call["indices"])
    where = [axis for axis, one in enumerate(given) if one is not None]
    numbers = [given[axis] for axis in where]
    shape = np.broadcast_shapes(*(act.shape for act in numbers))
    if len(numbers) == 1 and numbers[0].value is not None:
        known, axis = numbers[0].value, where[0]
        return part(ledger, x, lambda ids: ids.take(known, axis) if ids.shape[axis] > 1 else ids, call.shape)
    if where != list(range(where[0], where[-1] + 1)) or (*x.shape[: where[0]], *shape, *x.shape[where[-1] + 1 :]) != call.shape:
        return None
    for act in numbers:
        ledger.freeze(act, "it is used to look up entries")
    rest = settled(ledger, x, where, "entries are looked up by number")
    thin = reshaped(rest, (*x.shape[: where[0]], *[1] * len(shape), *x.shape[where[-1] + 1 :]))
    return placed(ledger, thin, range(where[0], where[0] + len(shape)), call.shape) if shape else thin


def index_add(ledger: Ledger, call: Call) -> Made:
    """Slices of one tensor added to those of another at numbers along one axis: tokens that come back from their experts."""
    x, source, axis = call["self"], call["source"], call["dim"] % len(call.shape)
    ledger.freeze(call["index"], "it is used to look up entries")
    ledger.unscaled += [ids.ravel() for act in (x, source) for ids in act.labels]
    made = meet(ledger, *(settled(ledger, act, [axis], "entries are looked up by number") for act in (x, source)))
    return placed(ledger, made, [axis], call.shape)


def gather(ledger: Ledger, call: Call) -> Made:
    """Entries of one axis by number, another number for each place along the others."""
    x, numbers, axis = call["self"], call["index"], call["dim"] % len(call.shape)
    if any(n != m for i, (n, m) in enumerate(zip(x.shape, numbers.shape, strict=True)) if i != axis):
        return None
    rest = settled(ledger, x, [axis], "entries are looked up by number")
    ledger.freeze(numbers, "it is used to look up entries")
    return meet(ledger, placed(ledger, rest, [axis], call.shape), Act(call.shape, numbers.labels))


def view_as_complex(ledger: Ledger, call: Call) -> Made:
    """Pairs along the last axis as one number."""
    return reshaped(settled(ledger, call.act, [-1], "pairs are complex numbers"), call.shape)


def view_as_real(ledger: Ledger, call: Call) -> Made:
    """One complex number as a pair along a new last axis."""
    wide = reshaped(call.act, (*call.act.shape, 1))
    return placed(ledger, wide, [-1], call.shape)


_SORTS = "cumsum cumprod logcumsumexp cummax cummin sort argsort msort topk kthvalue median nanmedian mode argmax argmin"
_FOURIER = "fft_fft fft_ifft fft_rfft fft_irfft fft_hfft fft_ihfft fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2 fft_fftn fft_ifftn fft_rfftn fft_irfftn"

PLACES = {
    **dict.fromkeys([*_SORTS.split(), *_FOURIER.split()], placewise),
    **dict.fromkeys(["triu", "tril"], triangle),
    "index_select": index_select,
    "index": index,
    "gather": gather,
    "index_add": index_add,
    "view_as_complex": view_as_complex,
    "view_as_real": view_as_real,
}
