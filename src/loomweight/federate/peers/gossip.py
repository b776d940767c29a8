"""Training without a server, simulated."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor, nn

from ...engines import Engine
from ...errors import BadParameter
from ..federation import Federation
from ..simulate import Clients, carried_out
from ..strategy import Strategy
from ..trainer import state_of
from ..world import World
from .gossiping import Gossip
from .two_faced import TwoFaced


@dataclass
class Gossiped(Federation):
    """The end of a simulation without a server: weights are the mean of the honest nodes.

    Args:
        nodes: name -> state dict of each.
    """

    nodes: Mapping[str, dict[str, Tensor]] = field(default_factory=dict)


def gossip(
    model: nn.Module,
    clients: Clients,
    strategy: Strategy,
    rounds: int,
    engine: str | Engine = "inline",
    world: World | None = None,
    folder: str | Path | None = None,
) -> Gossiped:
    """Train a model at every node, each mixing with its neighbours after its local training.

    Everything is as in `simulate`: the same local training, engines, faults, resume; attackers of `world` may be `TwoFaced`.

    Args:
        model: at the start, of all nodes; it is not changed.
        clients: name -> (inputs, targets), or a list of these, in the order of the graph's nodes.
        strategy: with a `Gossip` for its aggregate.
        rounds: in all.
        engine: inline, ray or ray:N.
        world: seed, speeds, hostile nodes, faults, test.
        folder: where the state is kept.

    Raises:
        BadParameter: another aggregate, or a graph of another size; as `simulate` does.

    >>> from loomweight.federate import ring
    >>> nodes = [(torch.randn(8, 2), torch.randint(2, (8,))) for _ in range(4)]
    >>> sorted(gossip(torch.nn.Linear(2, 2), nodes, Strategy(aggregate=Gossip(ring(4))), rounds=2).nodes)
    ['0', '1', '2', '3']
    """
    world = world or World()
    mesh = strategy.pooling
    if not isinstance(mesh, Gossip):
        raise BadParameter(f"gossip: the strategy's aggregate is a Gossip(graph), found {mesh!r}.")
    if mesh.graph.count != len(clients):
        raise BadParameter(f"gossip: the graph has {mesh.graph.count} nodes, and there are {len(clients)} clients.")
    faces = {name: attack for name, attack in world.attackers.items() if isinstance(attack, TwoFaced)}
    mesh = replace(mesh, hostile=frozenset(world.attackers), faces=faces, seed=world.seed)
    server = carried_out(model, clients, replace(strategy, aggregate=mesh), rounds, engine, world, folder)
    nodes = {client: state_of(model, {**server.weights, **server.pooling.get("nodes", {}).get(client, {})}) for client in server.clients}
    return Gossiped(copy.deepcopy(model), state_of(model, server.weights), server.history, nodes)
