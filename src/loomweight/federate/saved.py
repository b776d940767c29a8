"""A server as plain data, in the middle of a round too, and back."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from ..errors import BrokenFile
from .guard import Refusal
from .plain import Plain, Reply, Task
from .pooling import Book
from .server import Server
from .strategy import Strategy

_KINDS = {"reply": Reply, "refusal": Refusal, "book": Book, "task": Task}
#: "_name" is saved as "name"
_KEPT = (
    *("weights", "pooling", "shared", "book", "number", "out", "numbers", "history", "known"),
    *("held", "alone", "told", "refusals", "_waiting", "_taken", "bytes_up", "bytes_down"),
)


def state_of_server(server: Server) -> Plain:
    """All that a server knows, as plain data for `weights.plain_state`.

    >>> state = state_of_server(Server({"w": torch.zeros(2)}, Strategy(), ["ann"]))
    >>> resumed({"w": torch.zeros(2)}, Strategy(), state).round
    0
    """
    return {"clients": list(server.clients), "seed": server.seed, **{name.strip("_"): plain(getattr(server, name)) for name in _KEPT}}


def resumed(weights: Mapping[str, Any], strategy: Strategy, state: Plain, frozen: tuple[str, ...] = ()) -> Server:
    """The server that such a state is of: it goes on to the same bits.

    Raises:
        BrokenFile: the state is of another model.
    """
    server = Server(weights, strategy, state["clients"], state["seed"], frozen)
    if set(state["weights"]) != set(server.weights):
        raise BrokenFile("the state is of another model: its tensors are called otherwise; begin anew in another folder.")
    for name in _KEPT:
        setattr(server, name, whole(state[name.strip("_")]))
    server.book.clients = server.clients
    return server


def plain(value: Any) -> Any:
    """Replies, refusals and the book as dicts that say what they are."""
    for word, kind in _KINDS.items():
        if type(value) is kind:
            return {"kind": word, **{field.name: plain(getattr(value, field.name)) for field in fields(kind) if field.name != "clients"}}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def whole(value: Any) -> Any:
    """The other way."""
    if isinstance(value, list):
        return [whole(inner) for inner in value]
    if not isinstance(value, Mapping):
        return value
    inside = {key: whole(inner) for key, inner in value.items()}
    kind = _KINDS.get(value["kind"]) if isinstance(value.get("kind"), str) else None
    if kind is None or set(inside) != {"kind", *(field.name for field in fields(kind) if field.name != "clients")}:
        return inside  # a client may be called "kind"
    del inside["kind"]
    return kind(**inside, **({"clients": ()} if kind is Book else {}))
