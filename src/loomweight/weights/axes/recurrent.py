"""LSTM, GRU and RNN: the hidden units of a layer are gates' rows, several times over, and columns of the recurrent weight."""

from collections.abc import Sequence

from .call import Call, Made
from .labels import Act, Ledger
from .meeting import joined, meet, reshaped
from .products import affine

_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def recurrent(ledger: Ledger, call: Call) -> Made:
    """All layers and directions of a recurrent module."""
    if not isinstance(call.given.get("num_layers"), int) or "batch_sizes" in call.given:
        return None
    x, params = call["input"], list(call["params"])
    states = list(call["hx"]) if isinstance(call["hx"], list | tuple) else [call["hx"]]
    directions = 2 if call["bidirectional"] else 1
    each = len(params) // (call["num_layers"] * directions)
    last: list[Act] = []
    cells: list[Act] = []
    for layer in range(call["num_layers"]):
        outs = []
        for direction in range(directions):
            number = layer * directions + direction
            hidden, cell = _cell(ledger, call.name, x, params[number * each : (number + 1) * each], call["has_biases"])
            for state, act in zip(states, (hidden, cell), strict=False):
                meet(ledger, _row(state, number), _units(act))
            outs.append(hidden)
            last.append(_units(hidden))
            cells.append(_units(cell))
        x = joined(ledger, outs, -1) if directions == 2 else outs[0]
    results = [x, *(_stacked(ledger, acts, shape) for acts, shape in zip((last, cells), call.shapes[1:], strict=False))]
    return tuple(results)


def _cell(ledger: Ledger, name: str, x: Act, params: Sequence[Act], biased: bool) -> tuple[Act, Act]:
    """(what the layer puts out, its cell state); they differ where an LSTM projects."""
    inward, recurrent, *rest = params
    biases = rest[:2] if biased else [None, None]
    projection = rest[-1] if len(rest) > 2 * biased else None
    gates = affine(ledger, x, inward, biases[0])
    count = _GATES[name]
    apart = reshaped(gates, (*gates.shape[:-1], count, gates.shape[-1] // count))
    parts = [apart.moved(lambda ids, i=i: ids.take(i if ids.shape[-2] > 1 else 0, -2), (*apart.shape[:-2], apart.shape[-1])) for i in range(count)]
    ledger.unscaled += [ids.ravel() for ids in gates.labels]
    cell = meet(ledger, *parts)
    hidden = affine(ledger, cell, projection) if projection else cell
    meet(ledger, gates, affine(ledger, hidden, recurrent, biases[1]))
    return hidden, cell


def _units(act: Act) -> Act:
    """The last axis alone."""
    labels = tuple(ids.reshape(-1) for ids in act.labels if max(ids.shape[:-1], default=1) == 1)
    return Act(act.shape[-1:], labels)


def _row(state: Act, number: int) -> Act:
    """The state of one layer and direction."""
    return state.moved(lambda ids: ids.take(number if ids.shape[0] > 1 else 0, 0), state.shape[1:])


def _stacked(ledger: Ledger, acts: Sequence[Act], shape: tuple[int, ...]) -> Act:
    rows = [reshaped(act, (1,) * (len(shape) - 1) + act.shape) for act in acts]
    wide = [Act((1, *shape[1:]), row.labels) for row in rows]
    return joined(ledger, wide, 0)


RECURRENT = dict.fromkeys(_GATES, recurrent)
