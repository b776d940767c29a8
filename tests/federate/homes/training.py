"""What clients make of weights, by hand: for the homes that do not train."""

from torch import Tensor

from loomweight.federate import Pool, Server, Strategy, Trainer
from loomweight.federate.pooling.pool import stepped
from loomweight.rules import Rule

from ..small import Data, model, whole_batch


def strategy(rule: Rule) -> Strategy:
    """Two steps of gradient descent on all of a client's data, and the rule."""
    return Strategy(aggregate=Pool(rule), local=whole_batch(steps=2))


def trained(rule: Rule, weights: dict[str, Tensor], data: dict[str, Data]) -> list[dict[str, Tensor]]:
    """The state dict that each client has after its training."""
    start = model()
    start.load_state_dict(weights)
    trainer, server = Trainer(start, strategy(rule)), Server(weights, strategy(rule), list(data))
    return [stepped(weights, trainer(data[task.client], task, {})[0].update) for task in server.tasks()]
