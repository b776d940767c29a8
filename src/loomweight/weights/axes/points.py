"""Entry-by-entry operations, reductions and normalisations."""

from .call import Call, Hidden, Made
from .labels import Act, Ledger
from .meeting import couple, meet, reduce, reshaped

#: entry by entry too, though some of their overloads do not say so
_UNTAGGED = (
    "where masked_fill clamp_min clamp_max hardswish log_sigmoid silu square absolute divide multiply subtract negative fix "
    "floor_divide greater greater_equal less less_equal not_equal complex polar conj real imag special_expit special_erf isreal arctan "
    "arcsin arccos arctan2 arctanh arcsinh arccosh special_log1p special_expm1 special_logit log_sigmoid_forward"
)
UNTAGGED = frozenset(_UNTAGGED.split())
#: f(c x) = c f(x) for c > 0, or a sum of such
HOMOGENEOUS = frozenset(["relu", "leaky_relu", "add", "sub", "neg", "rsub", "abs", "maximum", "minimum", "where", "masked_fill"])


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
    if "other" in call.given:
        return pointwise(ledger, call)
    if call.name not in ("sum", "mean", "amax", "max"):
        ledger.unscaled += [ids.ravel() for ids in call.act.labels]
    dim = call.given.get("dim")
    axes = range(len(call.act.shape)) if dim is None or dim == [] else [dim] if isinstance(dim, int) else dim
    made = reduce(ledger, call.act, list(axes), bool(call.given.get("keepdim")))
    if call.name in ("max", "min") and len(call.shapes) > 1:
        ledger.freeze(call.act, f"{call.name} gives the places of units", list(axes))
    return made if len(call.shapes) == 1 else tuple(made for _ in call.shapes)


def similarity(ledger: Ledger, call: Call) -> Made:
    """Cosine of the angle between two vectors along an axis."""
    ledger.unscaled += [ids.ravel() for act in call.acts for ids in act.labels]
    return reduce(ledger, meet(ledger, *call.acts), [call["dim"]])


def distances(ledger: Ledger, call: Call) -> Made:
    """Between every row of one and every row of the other."""
    x, y = call["x1"], call["x2"]
    ledger.unscaled += [ids.ravel() for act in call.acts for ids in act.labels]
    left, right = reshaped(x, (*x.shape[:-1], 1, x.shape[-1])), reshaped(y, (*y.shape[:-2], 1, *y.shape[-2:]))
    return reduce(ledger, meet(ledger, left, right), [-1])


def weight_norm(ledger: Ledger, call: Call) -> Made:
    """g v / |v|, the norm over all axes but one."""
    v, axis = call["v"], call["dim"]
    ledger.unscaled += [ids.ravel() for act in call.acts for ids in act.labels]
    return meet(ledger, couple(ledger, v, [other for other in range(len(v.shape)) if other != axis % len(v.shape)]), call["g"])


def softmax(ledger: Ledger, call: Call) -> Made:
    """Entries along one axis divided by their common sum."""
    ledger.unscaled += [ids.ravel() for ids in call.act.labels]
    return couple(ledger, call.act, [call["dim"] % len(call.act.shape)])


def layer_norm(ledger: Ledger, call: Call) -> Made:
    """Over the last axes, each with a weight and a bias of its own: layer norm, RMS norm."""
    x = call["input"]
    ledger.unscaled += [ids.ravel() for ids in x.labels]
    axes = range(len(x.shape) - len(call["normalized_shape"]), len(x.shape))
    return _first(call, meet(ledger, couple(ledger, x, list(axes)), *_given(call, "weight", "bias")))


def batch_norm(ledger: Ledger, call: Call) -> Made:
    """Every channel by its own statistics, weight and bias."""
    x = call["input"]
    ledger.unscaled += [ids.ravel() for ids in x.labels]
    return _first(call, meet(ledger, x, *(_as_channels(act, len(x.shape)) for act in _given(call, "weight", "bias", "running_mean", "running_var"))))


def instance_norm(ledger: Ledger, call: Call) -> Made:
    """Every channel of every example by itself."""
    x = call["input"]
    couple(ledger, x, list(range(2, len(x.shape))))
    return batch_norm(ledger, call)


def group_norm(ledger: Ledger, call: Call) -> Made:
    """Channels in groups, each by its own statistics."""
    x, groups = call["input"], call.given.get("num_groups", call.given.get("group"))
    ledger.unscaled += [ids.ravel() for ids in x.labels]
    apart = reshaped(x, (x.shape[0], groups, x.shape[1] // groups, *x.shape[2:]))
    couple(ledger, apart, list(range(2, len(apart.shape))), "groups")
    return _first(call, meet(ledger, x, *(_as_channels(act, len(x.shape)) for act in _given(call, "weight", "bias"))))


def _first(call: Call, made: Act) -> Made:
    """The result, and statistics beside it that are not followed."""
    return made if len(call.shapes) == 1 else (made, *(Hidden(shape, call.acts) for shape in call.shapes[1:]))


def _given(call: Call, *names: str) -> list[Act]:
    return [call.given[name] for name in names if isinstance(call.given.get(name), Act)]


def _as_channels(act: Act, ndim: int) -> Act:
    """A vector as the second axis of an activation."""
    return reshaped(act, (1, act.shape[0], *[1] * (ndim - 2))) if act.shape and ndim > 1 else act


_REDUCTIONS = "sum mean amax amin max min prod var std var_mean std_mean aminmax norm linalg_vector_norm logsumexp all any nanmean nansum count_nonzero"

POINTS = {
    "prelu": prelu,
    "glu": glu,
    **dict.fromkeys(_REDUCTIONS.split(), reduction),
    **dict.fromkeys(["softmax", "log_softmax", "_softmax", "_log_softmax", "_safe_softmax"], softmax),
    **dict.fromkeys(["layer_norm", "native_layer_norm", "rms_norm", "_fused_rms_norm"], layer_norm),
    **dict.fromkeys(["batch_norm", "_native_batch_norm_legit_no_training", "native_batch_norm", "_batch_norm_impl_index", "cudnn_batch_norm"], batch_norm),
    "instance_norm": instance_norm,
    **dict.fromkeys(["group_norm", "native_group_norm"], group_norm),
    "cosine_similarity": similarity,
    **dict.fromkeys(["cdist", "_cdist_forward"], distances),
    **dict.fromkeys(["_weight_norm", "_weight_norm_interface"], weight_norm),
}
