"""Label flip: honest training on wrong labels.

Paper: Byzantine-Resilient Non-Convex Stochastic Gradient Descent (2021, https://arxiv.org/abs/2012.14368), section 5.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ...errors import BadParameter
from .attack import Attack


@dataclass(frozen=True)
class LabelFlip(Attack):
    """Trains on labels C - 1 - y instead of y.

    Args:
        classes: C; None is the largest label of this client's data and 1.

    Raises:
        BadParameter: the targets are no whole numbers.

    >>> LabelFlip(classes=3).data((torch.zeros(3, 1), torch.tensor([0, 1, 2])))[1]
    tensor([2, 1, 0])
    """

    classes: int | None = None

    sees = False

    def data(self, data: Sequence[Tensor]) -> Sequence[Tensor]:
        """With labels turned round."""
        *inputs, targets = data
        if targets.is_floating_point() or targets.is_complex():
            raise BadParameter(f"LabelFlip turns labels round, which are whole numbers; the targets are {str(targets.dtype).removeprefix('torch.')}.")
        classes = self.classes or (int(targets.max()) + 1 if targets.numel() else 0)
        return (*inputs, classes - 1 - targets)
