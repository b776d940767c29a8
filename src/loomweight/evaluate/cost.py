"""What a weight set costs to keep."""

from dataclasses import dataclass

from ..weights import Weights


@dataclass(frozen=True)
class Cost:
    """Counted once for every physical tensor: shared ones cost once.

    Args:
        parameters: entries of floating tensors.
        others: entries of integer and boolean tensors.
        nbytes: of all.
        tensors: how many.
    """

    parameters: int
    others: int
    nbytes: int
    tensors: int


def cost(weights: Weights) -> Cost:
    """Parameters and bytes of a weight set, from its header alone.

    >>> import torch
    >>> matrix = torch.zeros(3, 2)
    >>> cost(Weights.of({"embed": matrix, "head": matrix, "steps": torch.tensor(7)}))
    Cost(parameters=6, others=1, nbytes=32, tensors=2)
    """
    specs = [weights.spec[name] for name in weights.physical]
    parameters = sum(spec.numel for spec in specs if spec.averages)
    return Cost(parameters, sum(spec.numel for spec in specs) - parameters, weights.nbytes, len(specs))
