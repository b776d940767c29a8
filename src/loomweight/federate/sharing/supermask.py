"""A random network of which scores say what is used.

Paper: FRL: Federated Rank Learning (2021, https://arxiv.org/abs/2110.04350), section 2.2, after edge-popup (https://arxiv.org/abs/1911.13299).
"""

from hashlib import blake2b
from math import prod

import torch
from torch import Tensor, nn

from ...derive import derive
from ...errors import BadParameter
from ..messages.ranking import ladder


class Supermask(nn.Module):
    """used = fixed where the score is among the largest share, 0 elsewhere; the gradient passes straight through the choice.

    Args:
        fixed: the random weight, which is never trained.
        scores: one for each entry, which are.
        share: of the entries that are used.

    >>> Supermask(torch.tensor([1.0, -1.0]), torch.tensor([0.1, 0.2]), 0.5)().tolist()
    [0.0, -1.0]
    """

    fixed: Tensor

    def __init__(self, fixed: Tensor, scores: Tensor, share: float) -> None:
        super().__init__()
        self.register_buffer("fixed", fixed)
        self.scores, self.share = nn.Parameter(scores), share

    def forward(self) -> Tensor:
        """The shape of the weight."""
        kept = max(1, round(self.share * self.scores.numel()))
        flat = torch.zeros(self.scores.numel(), dtype=self.scores.dtype)
        flat[self.scores.detach().flatten().topk(kept).indices] = 1
        return self.fixed * (flat.reshape(self.scores.shape) + (self.scores - self.scores.detach()))


def supermasked(model: nn.Module, share: float = 0.5, seed: int = 0) -> nn.Module:
    """The model, changed in place: weights of two axes or more are random signs of one size (sqrt(2 / inputs)) under a mask, biases are 0 and frozen.

    It is a function of the seed, the names and the shapes, so clients need not be sent it.

    Args:
        model: its layers; what it has learned is lost.
        share: of each tensor's entries that are used.
        seed: of signs and first scores.

    Raises:
        BadParameter: the share is not in (0, 1], or no tensor has two axes.

    >>> sorted(supermasked(nn.Linear(2, 2)).state_dict())
    ['bias', 'derived.weight.fixed', 'derived.weight.scores']
    """
    names = [name for name, tensor in model.named_parameters() if tensor.ndim > 1]
    if not 0 < share <= 1 or not names:
        raise BadParameter(f"supermasked: the share is in (0, 1] and a tensor has two axes or more, found {share} and {len(names)} such tensors.")
    for name, tensor in model.named_parameters():
        if tensor.ndim < 2:
            tensor.requires_grad_(False)
            if name.endswith("bias"):
                tensor.data.zero_()
    for name in names:
        shape = dict(model.named_parameters())[name].shape
        word = int.from_bytes(blake2b(repr((seed, name)).encode(), digest_size=7).digest())
        generator = torch.Generator().manual_seed(word)
        signs = torch.randint(2, shape, generator=generator) * 2.0 - 1
        scores = ladder(torch.randperm(prod(shape), generator=generator).reshape(shape))
        derive(model, name, Supermask(signs * (2 / prod(shape[1:])) ** 0.5, scores, share))
    return model


def masks(model: nn.Module) -> dict[str, Tensor]:
    """Which entries are used, by the name of the scores.

    >>> [int(mask.sum()) for mask in masks(supermasked(nn.Linear(4, 2), 0.25)).values()]
    [2]
    """
    found = {name: module for name, module in model.named_modules() if isinstance(module, Supermask)}
    return {f"{name}.scores": module().detach() != 0 for name, module in found.items()}
