"""Ridge regression of data that stay where they are: one round, and exact however they are split.

Paper: Analytic Federated Learning (2024, https://arxiv.org/abs/2405.16240).

Read with the authors' code (ZHUANGHP/Analytic-federated-learning, 1e7c2d9). It merges two clients after the other by a law of four inverses; that law is
(C_1 + C_2)^-1 (C_1 W_1 + C_2 W_2), as the tests show, so that here only the sums of C_k and of C_k W_k are taken, and one system is solved.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ...errors import BadParameter
from ..plain import Tensors


def analytic(features: Tensor, targets: Tensor, classes: int, gamma: float = 1.0) -> Tensors:
    """What a client sends: C = X^T X + gamma I and W = C^-1 X^T Y, in float64.

    Args:
        features: X, [examples, features].
        targets: labels [examples], or Y itself, [examples, classes].
        classes: how many labels there are.
        gamma: makes C invertible where a client has few examples; it is taken off again at the server.

    Raises:
        BadParameter: shapes that do not fit, or gamma is not positive.

    >>> analytic(torch.tensor([[1.0], [2.0]]), torch.tensor([[2.0], [4.0]]), 1, gamma=1.0)
    {'gram': tensor([[6.]], dtype=torch.float64), 'weight': tensor([[1.6667]], dtype=torch.float64)}
    """
    wanted = functional.one_hot(targets, classes) if targets.dim() == 1 else targets
    if features.dim() != 2 or wanted.shape != (len(features), classes) or gamma <= 0:
        raise BadParameter(
            f"analytic: features [n, d], targets [n] or [n, {classes}] and gamma above 0, found {list(features.shape)}, {list(targets.shape)}, {gamma}."
        )
    inputs, outputs = features.double(), wanted.double()
    gram = inputs.T @ inputs + gamma * torch.eye(inputs.shape[1], dtype=torch.float64)
    return {"gram": gram, "weight": torch.linalg.solve(gram, inputs.T @ outputs)}


def absolute(parts: Sequence[Tensors], gamma: float = 1.0, ridge: float = 0.0) -> Tensor:
    """(sum_k C_k - (K gamma - ridge) I)^-1 sum_k C_k W_k: the regression on all data, whatever client had which.

    Part of: analytic.

    Args:
        parts: what the clients sent.
        gamma: as at the clients.
        ridge: regularisation that is left; 0 is the least-squares solution, the smallest where there are several.

    Raises:
        BadParameter: nothing was sent.

    >>> x, y = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[1.0], [2.0], [6.0]])
    >>> absolute([analytic(x[:1], y[:1], 1), analytic(x[1:], y[1:], 1)])  # 23 / 14
    tensor([[1.6429]], dtype=torch.float64)
    """
    if not parts:
        raise BadParameter("absolute: no client has sent anything.")
    return solved(sum(part["gram"] for part in parts), sum(part["gram"] @ part["weight"] for part in parts), len(parts) * gamma - ridge)  # type: ignore[arg-type]


def solved(gram: Tensor, moment: Tensor, off: float) -> Tensor:
    """(gram - off I)^-1 moment, the smallest solution where there are several.

    Part of: analytic.

    >>> solved(torch.tensor([[3.0]]), torch.tensor([[4.0]]), 1.0)
    tensor([[2.]])
    """
    return torch.linalg.lstsq(gram - off * torch.eye(len(gram), dtype=gram.dtype), moment, driver="gelsd").solution
