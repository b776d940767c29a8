"""Which subnets are trained: what every sampler can do."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ..errors import BadParameter
from .elastic import Elastic, Values


class Sampler(ABC):
    """Draws the configurations that a training step trains, and may learn from what came of them.

    It keeps no random numbers: they come from the step, which saves them. What it has learned is its state.
    """

    #: True where `draw` looks at how much of the training is done; the step must then be told how many steps there will be
    uses_done: ClassVar[bool] = False
    #: True where `told` looks at the gradients, which must then be those of this one subnet
    uses_gradients: ClassVar[bool] = False

    @abstractmethod
    def draw(self, net: Elastic, random: np.random.Generator, done: float) -> Values:
        """A configuration to train.

        Args:
            net: the elastic model, for its space and costs.
            random: moves on.
            done: the share of the training that is done, from 0 to 1.
        """

    def told(self, values: Values, loss: float, net: Elastic) -> None:
        """What came of a configuration that was drawn: its loss, and in `net` the gradients that its backward pass left."""
        return

    def state_dict(self) -> dict[str, Any]:
        """What was learned, as plain data."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there.

        Raises:
            BadParameter: the state is another sampler's.
        """
        if state:
            raise BadParameter(f"{type(self).__name__} learns nothing, but its state holds {', '.join(map(repr, state))}; it is another sampler's.")
