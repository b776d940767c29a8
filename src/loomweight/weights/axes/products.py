"""Operations that sum over units: linear maps, convolutions, attention, embeddings."""

from .call import Call, Made
from .labels import Act, Ledger
from .meeting import contract, couple, meet, placed, reduce, reshaped, settled


def linear(ledger: Ledger, call: Call) -> Made:
    """x W^T + b."""
    return affine(ledger, call["input"], call["weight"], call["bias"])


def affine(ledger: Ledger, x: Act, weight: Act, bias: Act | None = None) -> Act:
    """x W^T + b, W (out, in)."""
    wide = reshaped(x, (*x.shape[:-1], 1, x.shape[-1]))
    made = contract(ledger, wide, weight, [len(x.shape)])
    return made if bias is None else meet(ledger, made, bias)


def matmul(ledger: Ledger, call: Call) -> Made:
    """Matrix product with broadcast batch axes."""
    x, y = call.acts[-2:]
    if len(x.shape) == 1 or len(y.shape) == 1:
        x = reshaped(x, (1, *x.shape)) if len(x.shape) == 1 else x
        y = reshaped(y, (*y.shape, 1)) if len(y.shape) == 1 else y
    left, right = reshaped(x, (*x.shape, 1)), reshaped(y, (*y.shape[:-2], 1, *y.shape[-2:]))
    ndim = max(len(left.shape), len(right.shape))
    made = contract(ledger, left, right, [ndim - 2])
    return reshaped(made, call.shape)


def addmm(ledger: Ledger, call: Call) -> Made:
    """b + x W."""
    made = matmul(ledger, call)
    return meet(ledger, made, call["self"]) if isinstance(made, Act) else None


def einsum(ledger: Ledger, call: Call) -> Made:
    """Products of any axes, named by letters."""
    inputs, _, output = call["equation"].replace(" ", "").partition("->")
    terms, acts = inputs.split(","), call["tensors"]
    if "." in inputs or len(acts) > 2 or any(len(set(term)) < len(term) for term in terms):
        return None
    output = output or "".join(sorted(letter for letter in set("".join(terms)) if "".join(terms).count(letter) == 1))
    letters = [*output, *sorted(set("".join(terms)) - set(output))]
    spread = [_lettered(act, term, letters) for act, term in zip(acts, terms, strict=True)]
    summed = list(range(len(output), len(letters)))
    made = contract(ledger, *spread, summed) if len(spread) == 2 else reduce(ledger, spread[0], summed)
    return reshaped(made, call.shape)


def _lettered(act: Act, term: str, letters: list[str]) -> Act:
    """The activation with an axis for every letter."""
    order = [term.index(letter) for letter in letters if letter in term]
    moved = act.moved(lambda ids: ids.transpose(order), [act.shape[i] for i in order])
    return reshaped(moved, [act.shape[term.index(letter)] if letter in term else 1 for letter in letters])


def convolution(ledger: Ledger, call: Call) -> Made:
    """Channels to channels, in groups; positions to positions."""
    x, weight = call["input"], call["weight"]
    if len(x.shape) != len(weight.shape):
        return None
    kernel = range(2, len(weight.shape))
    turned = "transpose" in call.name or bool(call.given.get("transposed"))
    channels, square = _flat(settled(ledger, x, kernel)), _flat(settled(ledger, weight, kernel))
    made = (_transposed if turned else _plain)(ledger, channels, square, call["groups"])
    if isinstance(call.given.get("bias"), Act):
        made = meet(ledger, made, call["bias"])
    wide = reshaped(made, (*made.shape, *[1] * len(kernel)))
    return placed(ledger, wide, kernel, call.shape)


def _flat(act: Act) -> Act:
    """The first two axes of an activation whose others have size 1."""
    return reshaped(act, act.shape[:2])


def _plain(ledger: Ledger, x: Act, weight: Act, groups: int) -> Act:
    """Weight (out, in / groups)."""
    outs, ins = weight.shape
    made = contract(ledger, reshaped(x, (x.shape[0], groups, 1, ins)), reshaped(weight, (1, groups, outs // groups, ins)), [3], "groups")
    return reshaped(made, (x.shape[0], outs))


def _transposed(ledger: Ledger, x: Act, weight: Act, groups: int) -> Act:
    """Weight (in, out / groups)."""
    ins, outs = weight.shape
    made = contract(ledger, reshaped(x, (x.shape[0], groups, ins // groups, 1)), reshaped(weight, (1, groups, ins // groups, outs)), [2], "groups")
    return reshaped(made, (x.shape[0], groups * outs))


def embedding(ledger: Ledger, call: Call) -> Made:
    """Rows looked up by number: rows are no units, columns are."""
    table, where = settled(ledger, call["weight"], [0]), call["indices"]
    ledger.freeze(where, "it is used to look up rows")
    columns = [ids.reshape((1,) * len(where.shape) + (ids.shape[1],)) for ids in table.labels]
    return placed(ledger, Act(call.shape, tuple(columns)), range(len(where.shape)), call.shape)


def attention(ledger: Ledger, call: Call) -> Made:
    """softmax(q k^T + mask) v, with grouped queries if asked for."""
    q, k, v, mask = call["query"], call["key"], call["value"], call["attn_mask"]
    ledger.unscaled += [ids.ravel() for act in (q, k) for ids in act.labels]
    *lead, length, dims = q.shape
    if call.given.get("enable_gqa") and lead[-1] != k.shape[-3]:
        q = reshaped(q, (*lead[:-1], k.shape[-3], lead[-1] // k.shape[-3], length, dims))
        k, v = (reshaped(act, (*act.shape[:-2], 1, *act.shape[-2:])) for act in (k, v))
        mask = mask and reshaped(mask, (*mask.shape[:-2], 1, *mask.shape[-2:])) if mask and (len(mask.shape) < 3 or mask.shape[-3] == 1) else mask
    scores = contract(ledger, reshaped(q, (*q.shape[:-1], 1, dims)), reshaped(k, (*k.shape[:-2], 1, *k.shape[-2:])), [len(q.shape)])
    scores = meet(ledger, scores, mask) if mask else scores
    scores = couple(ledger, scores, [len(scores.shape) - 1])
    made = contract(ledger, reshaped(scores, (*scores.shape, 1)), reshaped(v, (*v.shape[:-2], 1, *v.shape[-2:])), [len(scores.shape) - 1])
    return reshaped(made, call.shape)


PRODUCTS = {
    "linear": linear,
    **dict.fromkeys("matmul mm bmm mv dot".split(), matmul),
    **dict.fromkeys("addmm baddbmm addmv".split(), addmm),
    **dict.fromkeys("conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution _convolution".split(), convolution),
    "embedding": embedding,
    "einsum": einsum,
    "scaled_dot_product_attention": attention,
}
