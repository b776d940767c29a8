"""The plainest home: state dicts in a list."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from ..choosing import Everyone
from ..plain import Plain, Reply, Tensors
from ..server import Server
from ..strategy import Strategy
from .serving import named

States = Mapping[str, Mapping[str, Tensor]] | Sequence[Mapping[str, Tensor]]


def pool_states(start: Mapping[str, Tensor], states: States, strategy: Strategy, examples: Sequence[float] | None = None) -> tuple[Tensors, Plain]:
    """One round of a server, from weights that others have trained.

    The strategy's aggregate, its table of tensors and its guard have a say; how the weights were trained and sent is over.

    Args:
        start: the state dict that all of them started from.
        states: theirs, in a list, or by name.
        strategy: see above.
        examples: how much each counts; all alike if None.

    Returns:
        The new state dict, and the round's line of the history, with who does not count.

    Raises:
        TooFewReplies, BadReply: as the guard says.

    >>> from loomweight.rules import Median
    >>> start, trained = {"w": torch.zeros(1)}, [{"w": torch.tensor([value])} for value in (1.0, 2.0, float("inf"), 99.0)]
    >>> weights, line = pool_states(start, trained, Strategy(aggregate=Median()))
    >>> weights["w"], line["who"]
    (tensor([2.]), {'2': 'nonfinite'})
    """
    names = list(states) if isinstance(states, Mapping) else named(len(states))
    given = states if isinstance(states, Mapping) else dict(zip(names, states, strict=True))
    counts = dict(zip(names, examples or [1.0] * len(names), strict=True))
    server = Server(start, replace(strategy, choose=Everyone(), objective=(), message=()), names)
    for task in server.tasks():
        update = changed(given[task.client], task.weights, server.weights)
        server.push(Reply(task.client, task.round, update, counts[task.client]))
    line = server.close()
    return {name: server.weights.get(name, tensor) for name, tensor in start.items()}, line


def changed(trained: Mapping[str, Tensor], received: Mapping[str, Tensor], known: Mapping[str, Tensor], differs: bool = False) -> Tensors:
    """trained - received for what travels, and nothing broadcast; a tensor that does not fit is handed on, for the guard to name.

    Args:
        trained: a state dict, or what `differs` from the received one already.
        received: what travelled down.
        known: the server's tensors, some of which do not travel.
        differs: see above.
    """
    update = {name: tensor for name, tensor in trained.items() if name in received or name not in known}
    fits = {name for name, tensor in update.items() if not differs and name in received and tensor.shape == received[name].shape}
    return {name: tensor - received[name] if name in fits else tensor for name, tensor in update.items()}
