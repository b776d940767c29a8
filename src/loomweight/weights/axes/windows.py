"""Operations on positions: pooling, resizing, padding, windows, pixels into channels. Channels come through, positions are places."""

from collections.abc import Sequence

from .call import Call, Made
from .labels import Act, Ledger
from .meeting import placed, reshaped, settled


def spatial(ledger: Ledger, x: Act, sizes: Sequence[int]) -> Act:
    """The activation with other trailing axes, whose entries are positions."""
    axes = range(len(x.shape) - len(sizes), len(x.shape))
    return placed(ledger, settled(ledger, x, axes), axes, (*x.shape[: axes.start], *sizes))


def pooling(ledger: Ledger, call: Call) -> Made:
    """Windows over the last axes; which is how many the operation's name says."""
    count = int(next(char for char in call.name if char.isdigit()))
    made = spatial(ledger, call.act, call.shape[-count:])
    return made if len(call.shapes) == 1 else tuple(made for _ in call.shapes)


def sampled(ledger: Ledger, call: Call) -> Made:
    """Read at the points of a grid."""
    ledger.freeze(call["grid"], "a grid to read at is made of it")
    return spatial(ledger, call["input"], call.shape[2:])


def unfolded_windows(ledger: Ledger, call: Call) -> Made:
    """(n, channels, *positions) -> (n, channels x window, windows)."""
    if len(call.act.shape) != 4:
        return None
    n, channels, *_ = call.act.shape
    made = spatial(ledger, call.act, [call.shape[1] // channels, call.shape[2]])
    return reshaped(made, call.shape) if made.shape[0] == n else None


def folded_windows(ledger: Ledger, call: Call) -> Made:
    """(n, channels x window, windows) -> (n, channels, *positions)."""
    if len(call.shape) != 4:
        return None
    n, channels, *positions = call.shape
    apart = reshaped(call.act, (n, channels, call.act.shape[1] // channels, call.act.shape[2]))
    return spatial(ledger, apart, positions)


def sliding(ledger: Ledger, call: Call) -> Made:
    """Windows along one axis; their entries become a last axis."""
    axis = call["dimension"] % len(call.act.shape)
    rest = settled(ledger, call.act, [axis])
    return placed(ledger, reshaped(rest, (*rest.shape, 1)), [axis, len(rest.shape)], call.shape)


def pixel_shuffle(ledger: Ledger, call: Call) -> Made:
    """Channels into squares of pixels."""
    *lead, channels, height, width = call.act.shape
    r, n = call["upscale_factor"], len(lead)
    apart = reshaped(call.act, [*lead, channels // r**2, r, r, height, width])
    return _turned(apart, [*range(n), n, n + 3, n + 1, n + 4, n + 2], call.shape)


def pixel_unshuffle(ledger: Ledger, call: Call) -> Made:
    """Squares of pixels into channels."""
    *lead, channels, height, width = call.act.shape
    r, n = call["downscale_factor"], len(lead)
    apart = reshaped(call.act, [*lead, channels, height // r, r, width // r, r])
    return _turned(apart, [*range(n), n, n + 2, n + 4, n + 1, n + 3], call.shape)


def channel_shuffle(ledger: Ledger, call: Call) -> Made:
    """Channels of the groups in turn."""
    n, channels, *rest = call.act.shape
    groups = call["groups"]
    apart = reshaped(call.act, [n, groups, channels // groups, *rest])
    return _turned(apart, [0, 2, 1, *range(3, len(apart.shape))], call.shape)


def _turned(act: Act, order: Sequence[int], shape: Sequence[int]) -> Act:
    """Axes in another order, then another shape."""
    return reshaped(act.moved(lambda ids: ids.transpose(order), [act.shape[i] for i in order]), shape)


_POOLS = [f"{kind}_pool{n}d" for kind in ("max", "avg", "adaptive_avg", "adaptive_max", "_adaptive_avg", "lp") for n in (1, 2, 3)]
_POOLS += [f"max_pool{n}d_with_indices" for n in (1, 2, 3)]
_KINDS = ["nearest1d", "nearest2d", "nearest3d", "linear1d", "bilinear2d", "bicubic2d", "trilinear3d", "nearest_exact1d", "nearest_exact2d", "nearest_exact3d"]
_RESIZES = [f"{mark}upsample_{kind}{end}" for mark in ("", "_") for kind in _KINDS for end in ("", "_aa")]
_PADS = [f"{kind}_pad{n}d" for kind in ("reflection", "replication") for n in (1, 2, 3)]

WINDOWS = {
    **dict.fromkeys([*_POOLS, *_RESIZES, *_PADS], pooling),
    **dict.fromkeys(["grid_sampler", "grid_sampler_2d", "grid_sampler_3d"], sampled),
    "im2col": unfolded_windows,
    "col2im": folded_windows,
    "unfold": sliding,
    "pixel_shuffle": pixel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
    **dict.fromkeys(["channel_shuffle", "native_channel_shuffle"], channel_shuffle),
}
