"""Mixtures of experts that were fitted apart become one with as many experts, by the least transport.

Paper: Distributed Learning of Mixtures of Experts (2023, https://arxiv.org/abs/2312.09877), sections 3 and 4.

Read with the authors' code (nhat-thien/Distributed-Mixture-Of-Experts, b4f46d6). The gates are softmax gates, and the optimal plan is in closed form: all
of an expert's part at an input goes to the nearest one. Where we differ: the code starts from clusters of the experts, at random, and fits the gates to
responsibilities that need the outputs of the supporting sample; here each of the given mixtures is a start, the best end is taken, and the gates are
fitted to the parts that were transported, which needs inputs alone.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ...errors import BadParameter
from .mixture import LEAST, MixtureOfExperts, softmax_regression, weighted_regressions, with_one


def reduce_mixtures(
    mixtures: Sequence[MixtureOfExperts], support: Tensor, counts: Sequence[float] | None = None, steps: int = 100, tolerance: float = 1e-9
) -> MixtureOfExperts:
    """The mixture g of k experts nearest to h = sum_m n_m / n mixture_m, which has the experts of all.

    Nearest by the expected transportation divergence: the mean over the inputs x of min over plans P of sum_lj P_lj(x) KL(h_l(x), g_j(x)),
    where P carries the parts of h's experts at x, and g's gates follow. It falls with every step, by majorisation and minimisation.

    Args:
        mixtures: fitted apart, each with the same number of experts; their experts may be in any order.
        support: inputs that stand for all, [examples, features].
        counts: examples of each mixture; None is equal ones.
        steps: at most.
        tolerance: where the divergence falls by less, it ends.

    Raises:
        BadParameter: no mixture, or mixtures of different shapes.

    >>> one = MixtureOfExperts(torch.zeros(2, 2), torch.tensor([[0.0, 1.0], [4.0, -1.0]]), torch.ones(2))
    >>> turned = MixtureOfExperts(one.gates, one.experts.flip(0), one.variances)
    >>> reduce_mixtures([one, turned], torch.linspace(-1, 1, 9)[:, None]).experts.round(decimals=4)
    tensor([[ 0.,  1.],
            [ 4., -1.]], dtype=torch.float64)
    """
    if not mixtures or len({one.gates.shape for one in mixtures}) > 1:
        raise BadParameter(f"reduce_mixtures: mixtures of one shape, found {[list(one.gates.shape) for one in mixtures]}.")
    every = [MixtureOfExperts(one.gates.double(), one.experts.double(), one.variances.double()) for one in mixtures]
    weight = torch.ones(len(every), dtype=torch.float64) if counts is None else torch.tensor(list(counts), dtype=torch.float64)
    parts = torch.cat([one.gating(support.double()) * share for one, share in zip(every, weight / weight.sum(), strict=True)], 1)
    experts, variances = torch.cat([one.experts for one in every]), torch.cat([one.variances for one in every])
    ends = [_descended(start, experts, variances, parts, support.double(), (steps, tolerance)) for start in every]
    best, plan, _ = min(ends, key=lambda end: end[2])
    gates = softmax_regression(with_one(support, experts), plan, torch.zeros_like(best.gates), steps=50)
    return MixtureOfExperts(gates, best.experts, best.variances)


def transportation_divergence(mixture: MixtureOfExperts, others: MixtureOfExperts, parts: Tensor, support: Tensor) -> Tensor:
    """KL(h_l(x), g_j(x)) of the nearest j, weighted by the parts at x and averaged over the inputs: how far h is from g.

    Part of: reduce_mixtures.

    Args:
        mixture: g.
        others: h, of whose gates no use is made.
        parts: of h's experts at the inputs, [examples, experts of h].
        support: inputs.

    >>> one = MixtureOfExperts(torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(1))
    >>> two = MixtureOfExperts(torch.zeros(1, 2), torch.tensor([[3.0, 0.0]]), torch.ones(1))
    >>> transportation_divergence(one, two, torch.ones(1, 1), torch.zeros(1, 1))  # 3^2 / 2
    tensor(4.5000)
    """
    return (parts * _apart(with_one(support, others.experts), others.experts, others.variances, mixture).amin(2)).sum() / len(support)


def _descended(
    start: MixtureOfExperts, experts: Tensor, variances: Tensor, parts: Tensor, support: Tensor, limits: tuple[int, float]
) -> tuple[MixtureOfExperts, Tensor, float]:
    """The experts at the end, the part of each at each input, and the divergence."""
    lifted, now, before = with_one(support, experts), start, float("inf")
    steps, tolerance = limits
    plan = torch.zeros(0)
    for _ in range(max(steps, 1)):
        apart = _apart(lifted, experts, variances, now)
        nearest = torch.nn.functional.one_hot(apart.argmin(2), len(start.experts))
        plan = parts[:, :, None] * nearest
        divergence = (plan * apart).sum().item() / len(support)
        if before - divergence < tolerance:
            break
        before, now = divergence, _refitted(now, plan, lifted, experts, variances)
    return now, plan.sum(1), before


def _apart(lifted: Tensor, experts: Tensor, variances: Tensor, mixture: MixtureOfExperts) -> Tensor:
    """KL(h_l(x), g_j(x)), [examples, experts of h, experts of g]."""
    ours, theirs = mixture.variances, variances[:, None]
    means = (lifted @ experts.T)[:, :, None] - (lifted @ mixture.experts.T)[:, None, :]
    return 0.5 * ((ours / theirs).log() + theirs / ours + means.square() / ours - 1)


def _refitted(now: MixtureOfExperts, plan: Tensor, lifted: Tensor, experts: Tensor, variances: Tensor) -> MixtureOfExperts:
    """The best experts for a plan: weighted least squares of what is carried to each, and its spread."""
    carried = plan.sum(1)
    means = lifted @ experts.T
    wanted = torch.einsum("slj,sl->sj", plan, means) / carried.clamp(min=1e-300)
    made = weighted_regressions(lifted, carried, wanted, now.experts)
    spread = (means[:, :, None] - (lifted @ made.T)[:, None, :]).square() + variances[:, None]
    total = carried.sum(0)
    found = torch.where(total > LEAST, (plan * spread).sum((0, 1)) / total.clamp(min=LEAST), now.variances)
    return MixtureOfExperts(now.gates, made, found.clamp(min=LEAST))
