"""Hostile nodes that tell each neighbour something else."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from numpy.random import Generator

from ..attacks import Attack
from ..plain import Tensors


class TwoFaced(Attack):
    """A node that sends each neighbour a model of its own making; a frozen dataclass. At a server it is an honest client."""

    sees = False

    @abstractmethod
    def face(self, receiver: str, own: Tensors, honest: Mapping[str, Tensors], draw: Generator) -> Tensors:
        """The model that this neighbour gets.

        Args:
            receiver: the neighbour's name.
            own: the hostile node's model after honest training.
            honest: the models of the honest nodes in this round, by name.
            draw: random numbers for this neighbour in this round.
        """


@dataclass(frozen=True)
class DriveApart(TwoFaced):
    """Each neighbour gets its own model, moved away from the mean of the honest ones: what keeps a network from agreeing.

    Args:
        scale: of the move, over the neighbour's distance from the mean; 0 sends the neighbour what it has.

    >>> import numpy as np
    >>> models = {"a": {"w": torch.tensor([1.0])}, "b": {"w": torch.tensor([3.0])}}
    >>> DriveApart(2.0).face("a", {}, models, np.random.default_rng(0))
    {'w': tensor([-1.])}
    """

    scale: float = 10.0

    def face(self, receiver: str, own: Tensors, honest: Mapping[str, Tensors], draw: Generator) -> Tensors:
        """x + scale (x - mean)."""
        if receiver not in honest:
            return own
        theirs = honest[receiver]
        mean = {name: sum(model[name] for model in honest.values()) / len(honest) for name in theirs}
        return {name: tensor + self.scale * (tensor - mean[name]) for name, tensor in theirs.items()}
