"""A strategy in NVFlare: an aggregator that takes in one client's model at a time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...errors import BadParameter, MissingExtra
from ..plain import Reply, Tensors
from ..pooling import Aggregate
from ..saved import resumed, state_of_server
from ..strategy import Strategy
from ..trainer import state_of
from .serving import named, server_of
from .state_dicts import changed

if TYPE_CHECKING:
    from nvflare.app_common.aggregators.model_aggregator import ModelAggregator


def nvflare_aggregator(strategy: Strategy, model: nn.Module, clients: int | Sequence[str], seed: int = 0) -> "type[ModelAggregator]":
    """A class of aggregators for NVFlare's `FedAvg` workflow: the strategy's aggregate, table of tensors and guard.

    NVFlare writes a job down as paths of classes, so a recipe takes a class of a module of yours, which inherits all:
    `class Ours(nvflare_aggregator(strategy, model, 2)): ...`, then `FedAvgRecipe(aggregator=Ours(), ...)`.

    Models come whole or as differences, as numpy arrays or tensors, and go back whole and as they came. NVFlare chooses and trains the
    clients; how much one counts is its `NUM_STEPS_CURRENT_ROUND`. Who has not answered when the round ends is late. What terms of an
    objective send, what an aggregate tells clients, and packed messages have no place in NVFlare's model: a strategy with those is refused.

    Args:
        strategy: see above.
        model: at the start; the workflow begins with the same.
        clients: the names of the sites, or how many there are: then they are called site-1, site-2, ... as NVFlare does.
        seed: of random choices of the aggregate.

    Raises:
        MissingExtra: NVFlare is not installed.
        BadParameter: the strategy needs more than NVFlare carries (when an aggregator is made).

    >>> aggregator = nvflare_aggregator(Strategy(), torch.nn.Linear(2, 2), clients=3)()
    >>> aggregator.server.clients
    ('site-1', 'site-2', 'site-3')
    """
    try:
        from nvflare.app_common.aggregators.model_aggregator import ModelAggregator
    except ImportError as error:
        raise MissingExtra("the home in NVFlare needs nvflare: pip install 'loomweight[nvflare]'.") from error
    names = [f"site-{i + 1}" for i in range(clients)] if isinstance(clients, int) else named(clients)

    class LoomweightAggregator(Accepts, ModelAggregator):
        """Drives a server of loomweight."""

        def __init__(self) -> None:
            super().__init__(strategy, model, names, seed)

    return LoomweightAggregator


class Accepts:
    """The three methods of a `ModelAggregator`."""

    def __init__(self, strategy: Strategy, model: nn.Module, clients: Sequence[str], seed: int) -> None:
        super().__init__()
        self.strategy, self.model = strategy, model
        self.server = server_of(model, strategy, clients, seed)
        tells = type(strategy.pooling).tells is not Aggregate.tells
        if strategy.parts or any(self.server.shared.values()) or strategy.pooling.continuous or tells:
            raise BadParameter(f"NVFlare carries models and nothing else, round by round; {strategy} sends more. Use Flower for it.")
        self._kind: Any = Tensor
        self._tasks: dict[str, Tensors] = {}
        self._first: int | None = None
        self._end = state_of_server(self.server)

    def accept_model(self, model: Any) -> None:
        """Take in a client's model."""
        self._tasks.update({task.client: task.weights for task in self.server.tasks()})
        client = str(model.meta.get("client_name", "unknown"))
        self._kind = type(next(iter(model.params.values()), None))
        given = {name: _tensor(value) for name, value in model.params.items()}
        update = changed(given, self._tasks.get(client, {}), self.server.weights, differs=model.params_type == "DIFF")
        number = self._number(model.current_round)
        metrics = {key: float(value) for key, value in (model.metrics or {}).items() if isinstance(value, int | float)}
        self.server.push(Reply(client, number, update, model.meta.get("NUM_STEPS_CURRENT_ROUND", 1), metrics=metrics))

    def aggregate_model(self) -> Any:
        """The new model."""
        from nvflare.app_common.abstract.fl_model import FLModel, ParamsType

        line = self.server.close()
        self._tasks.clear()
        self._end = state_of_server(self.server)
        state = state_of(self.model, self.server.weights)
        params = state if issubclass(self._kind, Tensor) else {name: tensor.numpy(force=True) for name, tensor in state.items()}
        return FLModel(params_type=ParamsType.FULL, params=params, metrics={key: line[key] for key in ("loss",) if key in line}, meta={"loomweight": line})

    def reset_stats(self) -> None:
        """A round that was begun and not ended is forgotten."""
        self._tasks.clear()
        self.server = resumed(dict(self.model.state_dict(keep_vars=True)), self.strategy, self._end)

    def _number(self, number: int | None) -> int:
        """NVFlare's numbers may begin anywhere; the first that is met is the round that is open."""
        if number is None:
            return self.server.round
        self._first = number - self.server.round if self._first is None else self._first
        return number - self._first


def _tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else torch.as_tensor(value)
