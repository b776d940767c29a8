"""What an attack is."""

from collections.abc import Sequence

from numpy.random import Generator
from torch import Tensor

from ..plain import Reply, Tensors


class Attack:
    """A hostile client, a frozen dataclass: it may change the data that it trains on, and the reply that it gives."""

    #: whether it needs what the honest clients of the round send
    sees: bool = True

    def data(self, data: Sequence[Tensor]) -> Sequence[Tensor]:
        """The (inputs, targets) that it trains on."""
        return data

    def forge(self, own: Reply, honest: Sequence[Tensors], draw: Generator) -> Reply:
        """The reply that it gives.

        Args:
            own: of its honest training, not yet packed.
            honest: the updates of the honest clients of the round, as the server will have them.
            draw: random numbers of this client in this round.
        """
        return own
