"""Data, divided among clients: what `simulate` takes."""

from torch import Tensor

from ...errors import BadParameter
from .partition import Data, Partition


def split(data: Data, partition: Partition, clients: int | None = None, seed: int = 0) -> dict[str, Data]:
    """Each client's own inputs and labels.

    Args:
        data: (inputs, labels), samples along the first axis.
        partition: who gets which; `FeatureShift` changes the inputs too.
        clients: how many; only `Natural` knows it by itself.
        seed: 0 or more; the same seed gives the same, whatever else draws random numbers.

    Raises:
        BadParameter: there is not one label for each input, or the partition is not possible.

    >>> from loomweight.federate.partition import Shards
    >>> x, y = torch.arange(6.0)[:, None], torch.tensor([0, 1, 0, 1, 0, 1])
    >>> {name: (inputs.flatten().tolist(), labels.tolist()) for name, (inputs, labels) in split((x, y), Shards(1), clients=2, seed=0).items()}
    {'client 0': ([1.0, 3.0, 5.0], [1, 1, 1]), 'client 1': ([0.0, 2.0, 4.0], [0, 0, 0])}
    """
    x, y = data
    _same_length(x, y)
    parts = partition(y, clients, seed)
    return {name: (partition.inputs(x[part], i, len(parts), seed), y[part]) for i, (name, part) in enumerate(parts.items())}


def _same_length(x: Tensor, y: Tensor) -> None:
    if not (x.dim() and y.dim() and len(x) == len(y)):
        raise BadParameter(f"data is inputs and labels of equally many samples, found shapes {tuple(x.shape)} and {tuple(y.shape)}.")
