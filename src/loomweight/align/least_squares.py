"""Normal equations, summed batch by batch in float64."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import BadParameter, NonFinite
from ..shapes import Float, Float64

_ROWS = 4096


@dataclass
class Normal:
    """X^T X and X^T Y of rows seen so far, for each group of channels. `add` changes it; a last input that
    is always 1 is added where the rows have one input less: it stands for the bias.

    Args:
        gram: X^T X.
        cross: X^T Y.
        rows: how many.
    """

    gram: Float64[Tensor, "groups inputs inputs"]
    cross: Float64[Tensor, "groups inputs outputs"]
    rows: int = 0

    @staticmethod
    def empty(groups: int, inputs: int, outputs: int, device: torch.device) -> "Normal":
        """Nothing seen yet; the inputs count the one of the bias."""
        zeros = torch.zeros(groups, inputs, inputs + outputs, dtype=torch.float64, device=device)
        return Normal(zeros[..., :inputs].clone(), zeros[..., inputs:].clone())

    def add(self, x: Float[Tensor, "rows groups inputs"], y: Float[Tensor, "rows groups outputs"]) -> None:
        """More rows."""
        if len(x) != len(y) or y.shape[1:] != (len(self.cross), self.cross.shape[-1]):
            raise BadParameter(f"the wanted outputs have {tuple(y.shape)} (rows, groups, channels), the layer's inputs {tuple(x.shape)}; give one for each.")
        for some, wanted in zip(x.detach().split(_ROWS), y.detach().split(_ROWS), strict=True):
            wide = some.double().movedim(0, 1)
            if wide.shape[-1] < self.gram.shape[-1]:
                wide = torch.cat([wide, wide.new_ones(*wide.shape[:-1], 1)], -1)
            self.gram += wide.mT @ wide
            self.cross += wide.mT @ wanted.double().movedim(0, 1)
        self.rows += len(x)

    def checked(self, name: str) -> "Normal":
        """The same; raise where NaN or Inf came in."""
        if not (self.gram.isfinite().all() and self.cross.isfinite().all()):
            raise NonFinite(f"inputs or wanted outputs of {name!r} hold NaN or Inf; look at the data, at the weights and at the model's dtype.")
        return self


def solved(gram: Tensor, cross: Tensor, before: Tensor, ridge: float) -> Tensor:
    """The W that minimizes ||X W - Y||^2 + ridge mean(diag(X^T X)) ||W - before||^2, from X^T X and X^T Y; groups may lead.

    With ridge 0 it is the solution nearest to `before`: what the data says nothing of stays.

    >>> x, y = torch.tensor([[1.0, 0.0], [2.0, 0.0]]).double(), torch.tensor([[3.0], [6.0]]).double()
    >>> solved(x.T @ x, x.T @ y, torch.tensor([[1.0], [7.0]]).double(), 0.0)
    tensor([[3.],
            [7.]], dtype=torch.float64)
    """
    if ridge < 0:
        raise BadParameter(f"a ridge is at least 0, found {ridge}.")
    before = before.double()
    residual = cross - gram @ before
    if not ridge:
        return before + torch.linalg.pinv(gram, hermitian=True, rtol=gram.shape[-1] * torch.finfo(gram.dtype).eps) @ residual
    level = ridge * gram.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    level = torch.where(level > 0, level, 1.0)
    return before + torch.linalg.solve(gram + level * torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device), residual)
