"""Statistical mixtures of experts: softmax gates, Gaussian regressions, and their fit by expectation and maximisation.

Paper: Distributed Learning of Mixtures of Experts (2023, https://arxiv.org/abs/2312.09877), section 2.
"""

from dataclasses import dataclass
from math import log, pi

import torch
from torch import Tensor

from ...errors import BadParameter

LEAST = 1e-8  # a variance is not smaller


@dataclass(frozen=True)
class MixtureOfExperts:
    """p(y | x) = sum_k softmax(G x)_k N(y; b_k x, v_k), x with a first entry of 1.

    Part of: reduce_mixtures.

    Args:
        gates: G, [experts, 1 + features].
        experts: b, [experts, 1 + features].
        variances: v, [experts].

    Raises:
        BadParameter: shapes that do not fit, or a variance that is not positive.

    >>> MixtureOfExperts(torch.zeros(2, 2), torch.tensor([[0.0, 1.0], [4.0, -1.0]]), torch.ones(2)).mean(torch.tensor([[3.0]]))
    tensor([2.])
    """

    gates: Tensor
    experts: Tensor
    variances: Tensor

    def __post_init__(self) -> None:
        fits = self.gates.dim() == 2 and self.gates.shape == self.experts.shape and self.variances.shape == self.gates.shape[:1]
        if not fits or not bool((self.variances > 0).all()):
            raise BadParameter(
                f"MixtureOfExperts: gates and experts [k, d], variances [k] above 0; found {list(self.gates.shape)}, {list(self.experts.shape)}, "
                f"{self.variances.tolist()}."
            )

    def gating(self, inputs: Tensor) -> Tensor:
        """The part of each expert, [examples, experts]."""
        return (with_one(inputs, self.gates) @ self.gates.T).softmax(1)

    def mean(self, inputs: Tensor) -> Tensor:
        """The expected y, [examples]."""
        return (self.gating(inputs) * (with_one(inputs, self.gates) @ self.experts.T)).sum(1)

    def joint(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        """log of part times density for each expert, [examples, experts]."""
        lifted = with_one(inputs, self.gates)
        apart = (outputs[:, None] - lifted @ self.experts.T).square() / self.variances
        return (lifted @ self.gates.T).log_softmax(1) - 0.5 * (apart + self.variances.log() + log(2 * pi))

    def log_likelihood(self, inputs: Tensor, outputs: Tensor) -> float:
        """The mean log density."""
        return self.joint(inputs, outputs).logsumexp(1).mean().item()


def fit_mixture(inputs: Tensor, outputs: Tensor, start: MixtureOfExperts, steps: int = 50) -> MixtureOfExperts:
    """Expectation and maximisation: responsibilities, then weighted least squares, variances, and a softmax regression for the gates.

    The likelihood does not fall.

    Part of: reduce_mixtures.

    Args:
        inputs: [examples, features].
        outputs: [examples].
        start: where it begins.
        steps: so many.

    >>> start = MixtureOfExperts(torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(1))
    >>> fit_mixture(torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([1.0, 3.0, 5.0]), start).experts  # y = 1 + 2 x
    tensor([[1.0000, 2.0000]], dtype=torch.float64)
    """
    inputs, outputs = inputs.double(), outputs.double()
    now = MixtureOfExperts(start.gates.double(), start.experts.double(), start.variances.double())
    lifted = with_one(inputs, now.gates)
    for _ in range(steps):
        share = now.joint(inputs, outputs).softmax(1)
        experts = weighted_regressions(lifted, share, outputs[:, None].expand_as(share), now.experts)
        variances = (share * (outputs[:, None] - lifted @ experts.T).square()).sum(0) / share.sum(0).clamp(min=LEAST)
        now = MixtureOfExperts(softmax_regression(lifted, share, now.gates), experts, variances.clamp(min=LEAST))
    return now


def weighted_regressions(lifted: Tensor, weight: Tensor, wanted: Tensor, before: Tensor) -> Tensor:
    """Least squares of each column of `wanted` with its column of weights, [experts, d]; an expert without weight stays as it was.

    Part of: reduce_mixtures.
    """
    found = before.clone()
    for k in range(weight.shape[1]):
        root = weight[:, k].clamp(min=0).sqrt()
        if weight[:, k].sum() > LEAST:
            found[k] = torch.linalg.lstsq(root[:, None] * lifted, (root * wanted[:, k])[:, None], driver="gelsd").solution[:, 0]
    return found


def softmax_regression(lifted: Tensor, wanted: Tensor, start: Tensor, steps: int = 3) -> Tensor:
    """Gates whose softmax is nearest to probabilities, max sum wanted log softmax(G x), by Newton's steps, halved until they ascend.

    Part of: reduce_mixtures.
    """
    gates, now = start.clone(), _fit(lifted, wanted, start)
    for _ in range(steps):
        parts = (lifted @ gates.T).softmax(1)
        curve = torch.diag_embed(parts) - parts[:, :, None] * parts[:, None, :]
        size = gates.numel()
        hessian = torch.einsum("sjk,sa,sb->jakb", curve, lifted, lifted).reshape(size, size)
        way = (torch.linalg.pinv(hessian, hermitian=True) @ ((wanted - parts).T @ lifted).flatten()).view_as(gates)
        lengths = (0.5**n for n in range(20))
        better = next((gates + length * way for length in lengths if _fit(lifted, wanted, gates + length * way) > now), None)
        if better is None:
            break
        gates, now = better, _fit(lifted, wanted, better)
    return gates


def _fit(lifted: Tensor, wanted: Tensor, gates: Tensor) -> float:
    return (wanted * (lifted @ gates.T).log_softmax(1)).sum().item()


def with_one(inputs: Tensor, like: Tensor) -> Tensor:
    """Inputs with a first entry of 1, of the type of `like`."""
    return torch.cat([inputs.new_ones(len(inputs), 1), inputs], 1).to(like.dtype)
