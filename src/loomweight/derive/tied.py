"""A tensor that repeats another module's."""

from torch import Tensor, nn


class Tied(nn.Module):
    """used = the tensor `name` of `module`, as it is used there: itself, or what is derived for it.

    Args:
        module: the module that has it; it is read, not owned.
        name: `weight`.

    >>> from . import derive, fold
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    >>> _ = derive(model, "1.weight", Tied(model[0], "weight"))
    >>> model[1].weight is model[0].weight
    True
    >>> plain = fold(model)
    >>> plain[1].weight is plain[0].weight is not model[0].weight
    True
    """

    def __init__(self, module: nn.Module, name: str) -> None:
        super().__init__()
        self.reads = (module, name)

    def forward(self) -> Tensor:
        """The tensor that is repeated."""
        module, name = self.reads
        return getattr(module, name)
