"""WAKD: a student learns from a teacher, and its iterates are averaged from early on; made for data of other domains.

Paper: Weight Averaging Improves Knowledge Distillation under Domain Shift (2023, https://arxiv.org/abs/2309.11446).
Original code: vorobeevich/distillation-in-dg at commit e32e109, src/trainer/distill_trainer.py and trainer.py (`our_swad_begin`).
We differ: the start is a share of the run, where the authors write steps (5000 of 50000); floating buffers are averaged too, which are the same in
all iterates where batch normalization is held fixed as they hold it.
"""

from math import isfinite

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div

from ..errors import BadParameter, ShapesDiffer
from .swa import SWA


class WAKD(SWA):
    """The plain mean of every iterate of a student, from a tenth of the run on; nothing is asked of validation data.

    Train the student by `distillation_loss`. The paper also tries SWAD and SMA in its place, with like results.

    Args:
        model: the student.
        length: samples of the whole run.
        start: the share of the run that is left out at the beginning.
        device: see `Track`.

    >>> student, teacher = nn.Linear(4, 3), nn.Linear(4, 3)
    >>> optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    >>> average = WAKD(student, length=10 * 8)
    >>> for batch in torch.randn(10, 8, 4):
    ...     optimizer.zero_grad()
    ...     distillation_loss(student(batch), teacher(batch)).backward()
    ...     optimizer.step()
    ...     _ = average.update(samples=8)
    >>> average.count
    9
    """

    def __init__(self, model: nn.Module, length: float, start: float = 0.1, device: str | torch.device | None = None) -> None:
        super().__init__(model, start, length=length, device=device)


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float = 5.0) -> Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)), the mean over all but the last axis; no gradient reaches the teacher.

    Part of: wakd.

    Args:
        student, teacher: logits of one shape, classes last.
        temperature: T; the authors take 5, and no term for the true labels.

    Raises:
        ShapesDiffer: the logits have different shapes.
        BadParameter: a temperature that is not positive.

    >>> distillation_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 0.0]])).item()
    0.0
    """
    if student.shape != teacher.shape:
        raise ShapesDiffer(f"the student's logits have shape {tuple(student.shape)}, the teacher's {tuple(teacher.shape)}; both need the same classes.")
    if not (isfinite(temperature) and temperature > 0):
        raise BadParameter(f"temperature must be a positive number, found {temperature}.")
    soft = (teacher.detach() / temperature).log_softmax(-1).flatten(0, -2)
    learnt = (student / temperature).log_softmax(-1).flatten(0, -2)
    return temperature**2 * kl_div(learnt, soft, reduction="batchmean", log_target=True)
