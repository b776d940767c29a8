"""How much of the truth was recovered: each true input gets the recovered one that is most like it, none twice.

Paper: Cocktail Party Attack: Breaking Aggregation-Based Privacy in Federated Learning using Independent Component Analysis (2022,
https://arxiv.org/abs/2209.05578), section 5. The authors assign greedily; the assignment here is the best of all.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import ShapesDiffer


@dataclass(frozen=True)
class Matched:
    """Recovered inputs beside the true ones.

    Args:
        recovered: in the order of the truth, with its sign.
        scores: |correlation| of each with its true input: 1 is the whole input but for brightness and contrast.
    """

    recovered: Tensor
    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Of the scores."""
        return sum(self.scores) / len(self.scores)


def matched(recovered: Tensor, truth: Tensor) -> Matched:
    """Assign recovered inputs to true ones, so that the sum of |correlations| is largest. Part of: leaks.

    Args:
        recovered: "inputs ..."; as many as there are true ones.
        truth: "inputs ...".

    Raises:
        ShapesDiffer: not as many, or not of the same size.

    >>> truth = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> matched(torch.tensor([[1.0, 1.0, 3.0], [1.0, -1.0, 1.0]]), truth).scores
    (1.0, 1.0)
    """
    from scipy.optimize import linear_sum_assignment

    found, wanted = recovered.flatten(1).double(), truth.flatten(1).double()
    if found.shape != wanted.shape:
        raise ShapesDiffer(f"matched: {list(recovered.shape)} recovered and {list(truth.shape)} true; they have to be as many, of one size.")
    likeness = _standard(wanted) @ _standard(found).T
    rows, columns = linear_sum_assignment(-likeness.abs().numpy())
    chosen = likeness[rows, columns]
    signs = torch.where(chosen < 0, -1.0, 1.0).to(recovered.dtype)
    ordered = recovered[torch.from_numpy(columns)] * signs.view(-1, *[1] * (recovered.ndim - 1))
    return Matched(ordered, tuple(round(value, 12) for value in chosen.abs().tolist()))


def _standard(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows - rows.mean(1, keepdim=True), dim=1)
