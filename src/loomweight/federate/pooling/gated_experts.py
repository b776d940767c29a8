"""A mixture of experts as a model that can be federated.

Paper: Distributed Learning of Mixtures of Experts (2023, https://arxiv.org/abs/2312.09877), section 2.
"""

import torch
from torch import Tensor, nn

from .mixture import MixtureOfExperts


class GatedExperts(nn.Module):
    """The parameters gates, experts and log_variances; its output is the expected y, [examples].

    Part of: reduce_mixtures.

    Args:
        start: its values.

    >>> GatedExperts(MixtureOfExperts(torch.zeros(1, 2), torch.tensor([[1.0, 2.0]]), torch.ones(1)))(torch.tensor([[3.0]]))
    tensor([7.], grad_fn=<SumBackward1>)
    """

    def __init__(self, start: MixtureOfExperts) -> None:
        super().__init__()
        self.gates, self.experts = nn.Parameter(start.gates.clone()), nn.Parameter(start.experts.clone())
        self.log_variances = nn.Parameter(start.variances.log())

    @property
    def mixture(self) -> MixtureOfExperts:
        """As it is now."""
        return MixtureOfExperts(self.gates.detach(), self.experts.detach(), self.log_variances.detach().exp())

    def forward(self, inputs: Tensor) -> Tensor:
        """The expected y."""
        lifted = torch.cat([inputs.new_ones(len(inputs), 1), inputs], 1)
        return ((lifted @ self.gates.T).softmax(1) * (lifted @ self.experts.T)).sum(1)
