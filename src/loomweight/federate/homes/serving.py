"""The server that a model and a strategy make, new or resumed."""

from collections.abc import Sequence

from torch import nn

from ..plain import Plain
from ..saved import resumed
from ..server import Server
from ..strategy import Strategy
from ..trainer import how_of


def named(clients: int | Sequence[str]) -> list[str]:
    """The names of clients; those of so many are as in a simulation of a list.

    >>> named(11)[:2]
    ['00', '01']
    """
    return [str(i).zfill(len(str(clients - 1))) for i in range(clients)] if isinstance(clients, int) else list(clients)


def server_of(model: nn.Module, strategy: Strategy, clients: Sequence[str], seed: int = 0, saved: Plain | None = None) -> Server:
    """A server for the model's weights; parameters that are not trained do not travel.

    >>> server_of(torch.nn.Linear(2, 2), Strategy(), ["ann"]).round
    0
    """
    state = dict(model.state_dict(keep_vars=True))
    frozen = tuple(name for name in how_of(model, strategy) if isinstance(state[name], nn.Parameter) and not state[name].requires_grad)
    return resumed(state, strategy, saved, frozen) if saved else Server(state, strategy, clients, seed, frozen)
