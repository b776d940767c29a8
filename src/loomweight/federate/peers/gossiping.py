"""Nodes that train on their own and mix with their neighbours: an aggregate that keeps a model for each client.

Papers: Can Decentralized Algorithms Outperform Centralized Algorithms? A Case Study for Decentralized Parallel Stochastic Gradient Descent (2017,
https://arxiv.org/abs/1705.09056), algorithm 1, with the mean; Robust Collaborative Learning with Linear Gradient Overhead (2022,
https://arxiv.org/abs/2209.10931), algorithm 1 (MoNNA), with `NearestNeighbourMean` and `PolyakMomentum`; Vanishing Variance Problem in Fully Decentralized
Neural-Network Systems (2024, https://arxiv.org/abs/2404.04616), with `correct`.

Code read: LPD-EPFL/robust-collaborative-learning at 3425aa1, peerToPeer.py and aggregators/cva.py. There neighbours exchange momenta; the paper's algorithm
and ours exchange models.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ...errors import BadParameter
from ...rules import Rule, combine
from ..guard import finite
from ..plain import Plain, Tensors, nbytes
from ..pooling import Aggregate, Book
from ..pooling.aggregate import kept
from ..pooling.pool import stepped
from ..pooling.variance_corrected import variance_corrected
from .graph import Graph
from .two_faced import TwoFaced


@dataclass(frozen=True)
class Gossip(Aggregate):
    """x_i <- sum_j W_ij y_j,  y_j = x_j after j's local training; or x_i <- rule(y_i, its neighbours' y_j), its own first.

    The server's place is taken by a mean of the nodes, which no node sees: it is what `test` looks at. A node that does not answer keeps its model,
    and its neighbours' share of it is theirs to keep, so W stays doubly stochastic among the others. A neighbour's model with NaN, Inf or other
    shapes is left out. Tensors that are not pooled (see `slices`) are common to all. The history counts models sent along edges, and has `disagreement`:
    the mean squared distance of the honest nodes from their mean.

    Args:
        graph: of the clients, in their order.
        rule: of a node's own model (the first) and its neighbours'; None is the mean with the graph's weights.
        correct: stretch that mean to the mean variance of what is in it, see `variance_corrected`: models that have nothing to do with each other yet
            do not average each other away.
        hostile: nodes that are left out of the mean and the disagreement; `gossip` fills it in.
        faces: nodes that tell each neighbour something else; `gossip` fills it in.
        seed: of their random numbers.

    >>> from loomweight.federate import ring
    >>> Gossip(ring(5)).graph.count
    5
    """

    graph: Graph
    rule: Rule | None = None
    correct: bool = False
    hostile: frozenset[str] = frozenset()
    faces: Mapping[str, TwoFaced] = field(default_factory=dict)
    seed: int = 0

    def down(self, weights: Tensors, state: Plain, client: str) -> Tensors:
        """Its own model."""
        return {**weights, **state.get("nodes", {}).get(client, {})}

    def pool(self, weights: Tensors, held: Plain, state: Plain, book: Book) -> tuple[Tensors, Plain]:
        """Each node's mixture; the weights are the mean of the honest nodes."""
        if len(book.clients) != self.graph.count:
            raise BadParameter(f"Gossip: the graph has {self.graph.count} nodes, and there are {len(book.clients)} clients.")
        before = {client: state.get("nodes", {}).get(client, weights) for client in book.clients}
        trained = {reply.client: stepped(before[reply.client], reply.update) for reply in kept(held)}
        nodes = {client: self._mixed(client, trained, book) if client in trained else before[client] for client in book.clients}
        honest = [model for client, model in nodes.items() if client not in self.hostile] or list(nodes.values())
        mean = {name: torch.stack([model[name].double() for model in honest]).mean(0) for name in weights}
        book.notes["disagreement"] = sum(_square(model, mean) for model in honest) / len(honest)
        book.notes["bytes_down"] = 0.0
        live = [sum(book.clients[j] in trained for j in self.graph.neighbours[i]) for i, client in enumerate(book.clients) if client in trained]
        book.notes["bytes_up"] = float(sum(live) * nbytes(weights))
        return {name: tensor.to(weights[name].dtype) for name, tensor in mean.items()}, {"nodes": nodes}

    def _mixed(self, client: str, trained: Mapping[str, Tensors], book: Book) -> Tensors:
        own, place = trained[client], book.clients.index(client)
        heard = {}
        for j in self.graph.neighbours[place]:
            model = self._told(book.clients[j], client, trained, book)
            if model is not None and _fits(model, own):
                heard[j] = model
            elif model is not None:
                book.notes["left_out"] = book.notes.get("left_out", 0.0) + 1
        if self.rule is not None:
            found = combine([own, *heard.values()], self.rule)
            return {name: found[name].to(own[name].dtype) for name in own}
        row = self.graph.mixing[place]
        if self.correct and heard:
            shares = [float(row[j]) for j in heard]
            return variance_corrected(list(heard.values()), shares, own, keep=1 - sum(shares))
        return {name: _weighted(own[name], {j: model[name] for j, model in heard.items()}, row) for name in own}

    def _told(self, sender: str, receiver: str, trained: Mapping[str, Tensors], book: Book) -> Tensors | None:
        if sender not in trained or sender not in self.faces:
            return trained.get(sender)
        honest = {client: model for client, model in trained.items() if client not in self.hostile}
        draw = np.random.default_rng([self.seed, book.round, book.clients.index(sender), book.clients.index(receiver)])
        return self.faces[sender].face(receiver, trained[sender], honest, draw)


def _weighted(own: Tensor, heard: Mapping[int, Tensor], row: Tensor) -> Tensor:
    """What the edges leave of 1 is the node's own."""
    mixed = own.double() * (1 - sum(float(row[j]) for j in heard))
    for j, tensor in heard.items():
        mixed.add_(tensor.double(), alpha=float(row[j]))
    return mixed.to(own.dtype)


def _fits(model: Tensors, own: Tensors) -> bool:
    same = model.keys() == own.keys() and all(model[name].shape == own[name].shape and model[name].dtype == own[name].dtype for name in own)
    return same and all(finite(tensor) for tensor in model.values() if tensor.is_floating_point())


def _square(model: Tensors, mean: Tensors) -> float:
    return sum(float((model[name].double() - mean[name]).square().sum()) for name in mean)
