"""Single operator, any connection: a block runs one of its operators and reads any number of earlier blocks.

Paper: NASRec: Weight Sharing Neural Architecture Search for Recommender Systems (2022, https://arxiv.org/abs/2207.07187); checked
against facebookresearch/NasRec, nasrec/supernet/supernet.py (strategy "default") and utils.py, whose number of connections is uniform up to 4.
"""

from collections.abc import Sequence

import numpy as np

from ...errors import BadParameter, unknown
from ..elastic import Elastic, Values
from ..sampler import Sampler


class AnyConnection(Sampler):
    """In every group of connections, n ~ U{1, ..., min(size, most)} of them are on, any n alike; in every group of operators, exactly one.

    A field is on at its last option and off at its first one. Fields in no group are drawn by themselves, so that a field whose options are operators
    needs no group: it always is one operator.

    Args:
        connections: groups of fields, the inputs of one block each.
        operators: groups of fields, the operators of one block each, where operators are switched on by fields of their own.
        most: connections of one block at most; None for any number. NASRec uses 4.

    Raises:
        BadParameter: no group, a field in two groups, an empty group.
        UnknownName: a field that the space does not have, when a subnet is drawn.

    >>> import torch
    >>> from loomweight.supernet import elastic
    >>> net = elastic(torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(4))), "width * : 2 4", torch.zeros(1, 4))
    >>> drawn = AnyConnection([["width 0", "width 1"]], most=1).draw(net, np.random.default_rng(0), 0.0)
    >>> sorted((drawn["width 0"], drawn["width 1"]))
    [2, 4]
    """

    def __init__(self, connections: Sequence[Sequence[str]] = (), operators: Sequence[Sequence[str]] = (), *, most: int | None = None) -> None:
        self.connections, self.operators, self.most = [list(group) for group in connections], [list(group) for group in operators], most
        fields = [name for group in (*self.connections, *self.operators) for name in group]
        if twice := {name for name in fields if fields.count(name) > 1}:
            raise BadParameter(f"a field belongs to one group, but {', '.join(sorted(twice))} is in two.")
        if (not self.connections and not self.operators) or not all((*self.connections, *self.operators)):
            raise BadParameter("give at least one group of connections or operators, and a field at least in each; without groups, use Uniform.")
        largest = max(map(len, self.connections), default=0)
        if most is not None and not 1 <= most < largest:
            raise BadParameter(f"most lies between 1 and {largest - 1}, below the largest group of connections, or it has no effect; found {most}.")

    def draw(self, net: Elastic, random: np.random.Generator, done: float) -> Values:
        """See the class."""
        values = net.sample(random)
        for group in self.connections:
            count = int(random.integers(1, min(len(group), self.most or len(group)) + 1))
            self._switch(net, values, group, random.choice(len(group), count, replace=False).tolist())
        for group in self.operators:
            self._switch(net, values, group, [int(random.integers(len(group)))])
        return net.space.canonical(values)

    def _switch(self, net: Elastic, values: Values, group: list[str], on: list[int]) -> None:
        for position, name in enumerate(group):
            if name not in net.space.dimensions:
                raise unknown("field", name, net.space.names)
            options = net.space.dimensions[name].options  # type: ignore[attr-defined]
            values[name] = options[-1] if position in on else options[0]

    def __repr__(self) -> str:
        return f"AnyConnection({self.connections!r}, {self.operators!r}, most={self.most})"
