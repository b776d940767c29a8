"""Operations that sum over units: linear maps, convolutions, attention, embeddings."""

from .call import Call, Hidden, Made
from .labels import Act, Ledger
from .meeting import along, contract, couple, meet, placed, reduce, reshaped, settled
from .scales import unshared


def shifted(ledger: Ledger, x: Act, bias: Act) -> Act:
    """x + b; units that b does not carry cannot be scaled."""
    ledger.unscaled += unshared([x, bias])
    return meet(ledger, x, bias)


def linear(ledger: Ledger, call: Call) -> Made:
    """x W^T + b."""
    return affine(ledger, call["input"], call["weight"], call["bias"])


def affine(ledger: Ledger, x: Act, weight: Act, bias: Act | None = None) -> Act:
    """x W^T + b, W (out, in)."""
    wide = reshaped(x, (*x.shape[:-1], 1, x.shape[-1]))
    made = contract(ledger, wide, weight, [len(x.shape)])
    return made if bias is None else shifted(ledger, made, bias)


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
    return shifted(ledger, made, call["self"]) if isinstance(made, Act) else None


def einsum(ledger: Ledger, call: Call) -> Made:
    """Products of any axes, named by letters."""
    acts = call["tensors"]
    inputs, arrow, output = call["equation"].replace(" ", "").partition("->")
    terms = inputs.split(",")
    spare = [chr(number) for number in range(ord("0"), ord("0") + 10)]
    broad = [len(act.shape) - len(term.replace("...", "")) if "..." in term else 0 for act, term in zip(acts, terms, strict=True)]
    terms = [term.replace("...", "".join(spare[max(broad) - count : max(broad)])) for term, count in zip(terms, broad, strict=True)]
    letters = "".join(terms)
    if any(len(set(term)) < len(term) for term in terms):
        return None
    shared = "".join(spare[: max(broad)])
    output = output.replace("...", shared) if arrow else shared + "".join(sorted(one for one in set(letters) - set(shared) if letters.count(one) == 1))
    order = [*output, *sorted(set(letters) - set(output))]
    first, *rest = [_lettered(act, term, order) for act, term in zip(acts, terms, strict=True)]
    summed = list(range(len(output), len(order)))
    for number, act in enumerate(rest):
        first = contract(ledger, first, act, summed if number == len(rest) - 1 else [])
    return reshaped(first if rest else reduce(ledger, first, summed), call.shape)


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
        made = shifted(ledger, made, call["bias"])
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


def bilinear(ledger: Ledger, call: Call) -> Made:
    """x1 W x2 + b, W (out, in1, in2)."""
    x, y, weight = call["input1"], call["input2"], call["weight"]
    half = contract(ledger, reshaped(x, (*x.shape[:-1], 1, x.shape[-1], 1)), weight, [len(x.shape)])
    half = reshaped(half, (*x.shape[:-1], weight.shape[0], weight.shape[2]))
    made = contract(ledger, half, reshaped(y, (*y.shape[:-1], 1, y.shape[-1])), [len(x.shape)])
    made = reshaped(made, call.shape)
    return shifted(ledger, made, call["bias"]) if isinstance(call["bias"], Act) else made


def bag(ledger: Ledger, call: Call) -> Made:
    """Sums of rows looked up by number."""
    table = settled(ledger, call["weight"], [0])
    for act in call.acts[1:]:
        ledger.freeze(act, "it is used to look up rows")
    return placed(ledger, table, [0], call.shape), *(Hidden(shape, ()) for shape in call.shapes[1:])


def attention(ledger: Ledger, call: Call) -> Made:
    """softmax(q k^T + mask) v, with grouped queries if asked for."""
    q, k, v, mask = call["query"], call["key"], call["value"], call["attn_mask"]
    ledger.unscaled += [ids.ravel() for act in (q, k) for ids in act.labels]
    *lead, length, dims = q.shape
    if call.given.get("enable_gqa") and lead[-1] != k.shape[-3]:
        groups = (k.shape[-3], lead[-1] // k.shape[-3])
        q = reshaped(q, (*lead[:-1], *groups, length, dims))
        k, v = (reshaped(act, (*act.shape[:-2], 1, *act.shape[-2:])) for act in (k, v))
        if mask and len(mask.shape) > 2:
            mask = reshaped(mask, (*mask.shape[:-3], *(groups if mask.shape[-3] > 1 else (1, 1)), *mask.shape[-2:]))
    scores = contract(ledger, reshaped(q, (*q.shape[:-1], 1, dims)), reshaped(k, (*k.shape[:-2], 1, *k.shape[-2:])), [len(q.shape)])
    scores = meet(ledger, scores, mask) if mask else scores
    last = len(scores.shape) - 1
    scores = along(ledger, scores, [last - 1, last], "earlier and later places are told apart") if call.given.get("is_causal") else scores
    scores = couple(ledger, scores, [last])
    made = contract(ledger, reshaped(scores, (*scores.shape, 1)), reshaped(v, (*v.shape[:-2], 1, *v.shape[-2:])), [last])
    return reshaped(made, call.shape)


def grouped(ledger: Ledger, call: Call) -> Made:
    """x W_g for the rows of x that lie in group g: (rows, in), (groups, in, out) -> (rows, out). Rows and groups are told apart by place."""
    x, weight = call.given.get("self", call.given.get("input")), call.given.get("mat2", call.given.get("weight"))
    if len(x.shape) != 2 or len(weight.shape) != 3:
        return None
    if call.given.get("bias") is not None:
        return None
    ledger.freeze(call["offs"], "it says where the groups are")
    one = settled(ledger, weight, [0], "groups are told apart")
    rows = along(ledger, x, [0], "groups are told apart")
    made = contract(ledger, reshaped(rows, (*x.shape, 1)), one, [1])
    return reshaped(made, call.shape)


PRODUCTS = {
    "linear": linear,
    **dict.fromkeys(["_grouped_mm", "grouped_mm_fallback"], grouped),
    **dict.fromkeys(["matmul", "mm", "bmm", "mv", "dot"], matmul),
    **dict.fromkeys(["addmm", "baddbmm", "addmv"], addmm),
    **dict.fromkeys(["conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution", "_convolution"], convolution),
    "embedding": embedding,
    "bilinear": bilinear,
    **dict.fromkeys(["embedding_bag", "_embedding_bag", "_embedding_bag_forward_only"], bag),
    "einsum": einsum,
    "scaled_dot_product_attention": attention,
}
