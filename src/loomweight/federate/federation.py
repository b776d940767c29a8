"""What a federation leaves: weights, and a line for each round."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from .plain import Plain


@dataclass
class Federation:
    """The end of a simulation.

    Args:
        model: with the final weights.
        weights: its state dict.
        history: a line for each round: round, asked, pooled, refused (code -> how many), who, bytes_up, bytes_down, time, loss, ...
    """

    model: nn.Module
    weights: dict[str, Tensor]
    history: list[Plain] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.model.load_state_dict(self.weights)
        self.model.eval()

    def last(self, key: str) -> Any:
        """The latest number of that name, None where there is none.

        >>> Federation(torch.nn.Identity(), {}, [{"accuracy": 0.5}, {}]).last("accuracy")
        0.5
        """
        return next((line[key] for line in reversed(self.history) if key in line), None)
