"""A strategy of loomweight in Flower: a Flower strategy for the server's app, and the clients' app."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from ...errors import MissingExtra
from ..strategy import Strategy
from ..trainer import local_round
from .drive import Drive
from .nodes import told
from .serving import named
from .wire import content_of_reply, keep, kept, task_of

if TYPE_CHECKING:
    from flwr.app import Context, Message
    from flwr.clientapp import ClientApp
    from flwr.serverapp.strategy import Strategy as FlowerStrategy

_MISSING = "the home in Flower needs flwr: pip install 'loomweight[flower]'."


def flower(
    strategy: Strategy, model: nn.Module, clients: int | Sequence[str], seed: int = 0, folder: str | Path | None = None, patience: float = 300.0
) -> "FlowerStrategy":
    """A strategy of Flower whose `start(grid, num_rounds=...)` runs the federation; its `server` has the history.

    Clients have names (see `nodes.Nodes`), so the numbers are those of `simulate` with the same clients and seed, to the bit. The guard
    looks at a reply before Flower does. Who raised, died or does not answer is counted, and the run goes on or stops as the guard says;
    what is raised ends Flower's run as failed. Replies are pooled as they come. An aggregate that asks clients one by one runs as well.

    Args:
        strategy: the four hooks.
        model: at the start.
        clients: how many there are, called "0", "1", ...; or their names.
        seed: of all random choices.
        folder: where the server's state is kept, on its machine; a second run with it goes on from there.
        patience: seconds in which clients may connect and say who they are, at the start; who has not is missing, as one who died.

    Raises:
        MissingExtra: Flower is not installed.
        BadParameter, UnknownName: the strategy does not fit the model.

    >>> flower(Strategy(), torch.nn.Linear(2, 2), clients=10).server.clients[-1]
    '9'
    """
    try:
        from flwr.serverapp.strategy import Strategy as Base
    except ImportError as error:
        raise MissingExtra(_MISSING) from error

    class LoomweightStrategy(Drive, Base):
        """Drives a server of loomweight."""

    return LoomweightStrategy(strategy, model, named(clients), seed, folder, patience)


def flower_client(model: nn.Module, data_of: "Callable[[Context], Sequence[Tensor]]", strategy: Strategy) -> "ClientApp":
    """An app of Flower that carries out the tasks of `flower`: it trains as in a simulation, with the same numbers.

    What a client keeps from round to round (its own tensors, what terms and parts of the message remember) is in the state of its
    context, which Flower keeps for one run and never sends.

    Args:
        model: as at the server.
        data_of: context -> (inputs, targets); `context.node_config["partition-id"]` says whose.
        strategy: as at the server.

    Raises:
        MissingExtra: Flower is not installed.

    >>> app = flower_client(torch.nn.Linear(2, 2), lambda context: (torch.randn(8, 2), torch.randint(2, (8,))), Strategy())
    """
    try:
        from flwr.app import ConfigRecord, Message, RecordDict
        from flwr.clientapp import ClientApp
    except ImportError as error:
        raise MissingExtra(_MISSING) from error
    app = ClientApp()

    @app.query()
    def query(message: "Message", context: "Context") -> "Message":
        return Message(RecordDict({"told": ConfigRecord(told(context))}), reply_to=message)

    @app.train()
    def train(message: "Message", context: "Context") -> "Message":
        reply, memory = local_round(model, data_of(context), task_of(message.content), strategy, kept(context.state))
        keep(context.state, memory)
        return Message(content_of_reply(reply), reply_to=message)

    return app
