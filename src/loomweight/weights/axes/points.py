"""Entry-by-entry operations, reductions and normalisations."""

from collections.abc import Sequence

from .call import Call, Made
from .labels import Act, Ledger
from .meeting import couple, meet, placed, reduce, reshaped, settled

#: f(c x) = c f(x) for c > 0, or a sum of such
#: entry by entry too, though some of their overloads do not say so
UNTAGGED = frozenset("where masked_fill clamp_min clamp_max".split())
HOMOGENEOUS = frozenset("relu leaky_relu add sub neg rsub abs maximum minimum where masked_fill".split())


def pointwise(ledger: Ledger, call: Call) -> Made:
    """Any operation that treats every entry alone."""
    scales = call.name in HOMOGENEOUS or (call.name in ("mul", "div") and len(call.acts) == 1)
    if not scales:
        ledger.unscaled += [ids.ravel() for act in call.acts for ids in act.labels]
    made = meet(ledger, *call.acts)
    new = len(call.shape) - len(made.shape)
    return made.moved(lambda ids: ids.reshape((1,) * new + ids.shape), call.shape)


def prelu(ledger: Ledger, call: Call) -> Made:
    """A slope for every channel."""
    x, slope = call["self"], call["weight"]
    return meet(ledger, x, _as_channels(slope, len(x.shape)))


def glu(ledger: Ledger, call: Call) -> Made:
    """First half times a gate of the second half."""
    x, axis = call["self"], call["dim"] % len(call["self"].shape)
    half = x.shape[axis] // 2
    ledger.unscaled += [ids.ravel() for ids in x.labels]
    cut = [[slice(None)] * axis + [part] for part in (slice(0, half), slice(half, None))]
    parts = [x.moved(lambda ids, where=where: ids[tuple(where)] if ids.shape[axis] > 1 else ids, call.shape) for where in cut]
    return meet(ledger, *parts)


def reduction(ledger: Ledger, call: Call) -> Made:
    """Sum, mean, maximum and the like over axes, or over all."""
    if call.name not in ("sum", "mean", "amax", "max"):
        ledger.unscaled += [ids.ravel() for ids in call.act.labels]
    dim = call.given.get("dim")
    axes = range(len(call.act.shape)) if dim is None or dim == [] else [dim] if isinstance(dim, int) else dim
    made = reduce(ledger, call.act, list(axes), bool(call.given.get("keepdim")))
    if len(call.shapes) > 1:
        ledger.freeze(call.act, f"{call.name} gives the places of units", list(axes))
    return made if len(call.shapes) == 1 else tuple(made for _ in call.shapes)


def softmax(ledger: Ledger, call: Call) -> Made:
    """Entries along one axis divided by their common sum."""
    ledger.unscaled += [ids.ravel() for ids in call.act.labels]
    return couple(ledger, call.act, [call["dim"] % len(call.act.shape)])


def layer_norm(ledger: Ledger, call: Call) -> Made:
    """Over the last axes, each with a weight and a bias of its own: layer norm, RMS norm."""
    x = call["input"]
    ledger.unscaled += [ids.ravel() for ids in x.labels]
    axes = range(len(x.shape) - len(call["normalized_shape"]), len(x.shape))
    return meet(ledger, couple(ledger, x, list(axes)), *_given(call, "weight", "bias"))


def batch_norm(ledger: Ledger, call: Call) -> Made:
    """Every channel by its own statistics, weight and bias."""
    x = call["input"]
    ledger.unscaled += [ids.ravel() for ids in x.labels]
    made = meet(ledger, x, *(_as_channels(act, len(x.shape)) for act in _given(call, "weight", "bias", "running_mean", "running_var")))
    return made if len(call.shapes) == 1 else (made, *(Act(shape) for shape in call.shapes[1:]))


def instance_norm(ledger: Ledger, call: Call) -> Made:
    """Every channel of every example by itself."""
    x = call["input"]
    couple(ledger, x, list(range(2, len(x.shape))))
    return batch_norm(ledger, call)


def group_norm(ledger: Ledger, call: Call) -> Made:
    """Channels in groups, each by its own statistics."""
    x, groups = call["input"], call["num_groups"]
    ledger.unscaled += [ids.ravel() for ids in x.labels]
    apart = reshaped(x, (x.shape[0], groups, x.shape[1] // groups, *x.shape[2:]))
    couple(ledger, apart, list(range(2, len(apart.shape))), "groups")
    return meet(ledger, x, *(_as_channels(act, len(x.shape)) for act in _given(call, "weight", "bias")))


def _given(call: Call, *names: str) -> list[Act]:
    return [call.given[name] for name in names if isinstance(call.given.get(name), Act)]


def _as_channels(act: Act, ndim: int) -> Act:
    """A vector as the second axis of an activation."""
    return reshaped(act, (1, act.shape[0], *[1] * (ndim - 2))) if act.shape and ndim > 1 else act


def spatial(ledger: Ledger, x: Act, sizes: Sequence[int]) -> Act:
    """The activation with other trailing axes, whose entries are positions: pooling, resizing."""
    axes = range(len(x.shape) - len(sizes), len(x.shape))
    return placed(ledger, settled(ledger, x, axes), axes, (*x.shape[: axes.start], *sizes))


def pooling(ledger: Ledger, call: Call) -> Made:
    """Windows over the last axes; which is how many the name ends with."""
    count = int(next(char for char in call.name if char.isdigit()))
    made = spatial(ledger, call.act, call.shape[-count:])
    return made if len(call.shapes) == 1 else tuple(made for _ in call.shapes)


_POOLS = [f"{kind}_pool{n}d" for kind in ("max", "avg", "adaptive_avg", "adaptive_max", "_adaptive_avg", "lp") for n in (1, 2, 3)]
_POOLS += [f"max_pool{n}d_with_indices" for n in (2, 3)]
_RESIZES = [f"upsample_{kind}" for kind in ("nearest1d", "nearest2d", "nearest3d", "linear1d", "bilinear2d", "bicubic2d", "trilinear3d", "nearest_exact2d")]
_PADS = [f"{kind}_pad{n}d" for kind in ("reflection", "replication") for n in (1, 2, 3)]

POINTS = {
    "prelu": prelu,
    "glu": glu,
    **dict.fromkeys("sum mean amax amin max min prod var std norm linalg_vector_norm logsumexp all any nanmean nansum".split(), reduction),
    **dict.fromkeys("softmax log_softmax _softmax _log_softmax _safe_softmax".split(), softmax),
    **dict.fromkeys("layer_norm native_layer_norm rms_norm _fused_rms_norm".split(), layer_norm),
    **dict.fromkeys("batch_norm _native_batch_norm_legit_no_training native_batch_norm".split(), batch_norm),
    "instance_norm": instance_norm,
    "group_norm": group_norm,
    **dict.fromkeys([*_POOLS, *_RESIZES, *_PADS], pooling),
}
