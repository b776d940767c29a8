"""LSTM, GRU and RNN: the hidden units of a layer are gates' rows, several times over, and columns of the recurrent weight."""

from collections.abc import Sequence

from .call import Call, Made
from .labels import Act, Ledger
from .meeting import along, joined, meet, part, placed, reshaped, settled
from .moves import taken
from .products import affine

_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def recurrent(ledger: Ledger, call: Call) -> Made:
    """All layers and directions of a recurrent module."""
    if not isinstance(call.given.get("num_layers"), int):
        return None
    x, params = call.given.get("data", call.given.get("input")), list(call["params"])
    if "batch_sizes" in call.given:
        ledger.freeze(call["batch_sizes"], "it says how long sequences are")
    x = along(ledger, x, range(len(x.shape) - 1), "earlier and later places are told apart")
    states = list(call["hx"]) if isinstance(call["hx"], list | tuple) else [call["hx"]]
    directions = 2 if call["bidirectional"] else 1
    each = len(params) // (call["num_layers"] * directions)
    last: list[Act] = []
    cells: list[Act] = []
    for layer in range(call["num_layers"]):
        outs = []
        for direction in range(directions):
            number = layer * directions + direction
            hidden, cell = _layer(ledger, call.name, x, params[number * each : (number + 1) * each], call["has_biases"])
            for state, act in zip(states, (hidden, cell), strict=False):
                meet(ledger, _row(state, number), _units(act))
            outs.append(hidden)
            last.append(_units(hidden))
            cells.append(_units(cell))
        x = joined(ledger, outs, -1) if directions == 2 else outs[0]
    results = [x, *(_stacked(ledger, acts, shape) for acts, shape in zip((last, cells), call.shapes[1:], strict=False))]
    return tuple(results)


def _layer(ledger: Ledger, name: str, x: Act, params: Sequence[Act], biased: bool) -> tuple[Act, Act]:
    """(what the layer puts out, its cell state); they differ where an LSTM projects."""
    inward, recurrent, *rest = params
    biases = rest[:2] if biased else [None, None]
    projection = rest[-1] if len(rest) > 2 * biased else None
    gates = affine(ledger, x, inward, biases[0])
    cell = _cell(ledger, name, gates)
    hidden = affine(ledger, cell, projection) if projection else cell
    meet(ledger, gates, affine(ledger, hidden, recurrent, biases[1]))
    return hidden, cell


def _cell(ledger: Ledger, name: str, gates: Act) -> Act:
    """All gates of a unit meet."""
    count = _GATES[name]
    apart = reshaped(gates, (*gates.shape[:-1], count, gates.shape[-1] // count))
    parts = [part(ledger, apart, lambda ids, i=i: taken(ids, i, -2), (*apart.shape[:-2], apart.shape[-1])) for i in range(count)]
    ledger.unscaled += [ids.ravel() for ids in gates.labels]
    return meet(ledger, *parts)


def _units(act: Act) -> Act:
    """The last axis alone."""
    labels = tuple(ids.reshape(-1) for ids in act.labels if max(ids.shape[:-1], default=1) == 1)
    return Act(act.shape[-1:], labels)


def _row(state: Act, number: int) -> Act:
    """The state of one layer and direction."""
    return state.moved(lambda ids: taken(ids, number, 0), state.shape[1:])


def _stacked(ledger: Ledger, acts: Sequence[Act], shape: tuple[int, ...]) -> Act:
    """States of all layers and directions, of every example."""
    rows = [reshaped(act, (1,) * (len(shape) - 1) + act.shape) for act in acts]
    return joined(ledger, [placed(ledger, row, range(1, len(shape) - 1), (1, *shape[1:])) for row in rows], 0)


def single(ledger: Ledger, call: Call) -> Made:
    """One step of one layer."""
    name, before = call.name.removesuffix("_cell"), call["hx"]
    states = list(before) if isinstance(before, list | tuple) else [before]
    gates = affine(ledger, call["input"], call["w_ih"], call["b_ih"])
    cell = _cell(ledger, name, meet(ledger, gates, affine(ledger, states[0], call["w_hh"], call["b_hh"])))
    carried = meet(ledger, cell, states[-1]) if name in ("lstm", "gru") else cell
    return (carried, carried) if name == "lstm" else carried


def packed(ledger: Ledger, call: Call) -> Made:
    """Sequences of several lengths as one run of steps: (examples, steps, units) -> (all steps, units), and how many go on at each."""
    x = call["input"]
    ledger.freeze(call["lengths"], "it says how long sequences are")
    rest = settled(ledger, x, range(len(x.shape) - 1), "earlier and later places are told apart")
    data = placed(ledger, reshaped(rest, (1, *rest.shape[2:])), [0], call.shapes[0])
    return data, ledger.fixed(call.shapes[1])


def padded(ledger: Ledger, call: Call) -> Made:
    """Back again, with one value for all units where a sequence has ended."""
    ledger.freeze(call["batch_sizes"], "it says how long sequences are")
    ledger.unscaled += [ids.ravel() for ids in call["data"].labels] if call["padding_value"] else []
    rest = settled(ledger, call["data"], [0], "earlier and later places are told apart")
    out = placed(ledger, reshaped(rest, (1, *rest.shape)), [0, 1], call.shapes[0])
    return out, ledger.fixed(call.shapes[1])


RECURRENT = {**dict.fromkeys(_GATES, recurrent), **dict.fromkeys([f"{name}_cell" for name in _GATES], single)} | {
    "_pack_padded_sequence": packed,
    "_pad_packed_sequence": padded,
}
