"""The diagonal of the Fisher information, the precision with which Fisher merging weighs every parameter.

Paper: Merging Models with Fisher-Weighted Averaging (2022, https://arxiv.org/abs/2111.09832), section 3.2:

    F = E_x E_{y ~ p(y|x)} [ (d log p(y|x) / d theta)^2 ],

entry by entry, the square taken of every example's own gradient. Original code: https://github.com/mmatena/model_merging
(model_merging/fisher.py), which sums over all classes; here labels="expected". Other code in use squares the gradient of a
whole batch, which is something else: gradients of different examples cancel in it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import NonFinite, unknown
from ..shapes import Float
from ..weights import Weights
from .collect import Run, collect
from .fold import State
from .keyed import generator
from .squares import Squares
from .task import IGNORED, Task, log_likelihood

LABELS = ("sampled", "expected", "empirical")


def fisher(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    task: Task | None = None,
    labels: str = "sampled",
    samples: int | None = None,
    seed: int = 0,
    run: Run | None = None,
) -> Weights:
    """Diagonal Fisher information of a classifier or language model: mean over examples of squared gradients of log p.

    An example with several positions (tokens) has log p summed over them. Parameters that share a tensor have one gradient,
    the sum over all its uses. Frozen parameters are included; one that the output does not depend on has Fisher 0.

    Args:
        model: is used in evaluation mode and left as it was.
        loader: gives batches; the first axis of every tensor in them is the examples.
        task: what the logits and labels are; by default those of (inputs, labels) tuples or of dicts with labels.
        labels: whose gradient is squared. "sampled": of one label per position drawn from the model's own p(y|x), unbiased, one
            backward pass an example; the draw depends on (seed, number of the example) alone. "expected": the mean over all
            classes, exact, one backward pass a class and position. "empirical": of the data's labels, which is not the Fisher
            information but often used in its place.
        samples: stop after so many examples.
        seed: of the draws.
        run: progress bar and checkpoints.

    Returns:
        One tensor a parameter, in float32 (float64 for float64 models).

    Raises:
        UnknownName: `labels` is none of the three.
        BadParameter: no example; a batch, logits or labels of a shape that cannot be; a checkpoint of something else.
        NonFinite: logits or a gradient hold NaN or Inf; the message names the parameter and the batch.

    >>> model = nn.Linear(1, 2, bias=False)
    >>> _ = nn.init.zeros_(model.weight)                     # p = 1/2 for both classes, so d log p / d w = +-x/2
    >>> fisher(model, [(torch.tensor([[2.0], [4.0]]), torch.tensor([0, 1]))])["weight"]
    tensor([[2.5000],
            [2.5000]])
    """
    if labels not in LABELS:
        raise unknown("kind of labels", labels, LABELS)
    return collect(Fisher(model, task or Task(), labels, seed), loader, run or Run(), samples)


@dataclass(frozen=True)
class Fisher(Squares):
    """Sums of squared gradients of log p."""

    task: Task
    labels: str
    seed: int
    words: ClassVar[str] = "Fisher information"

    def rows(self, model: nn.Module, example: Any, extra: Tensor) -> Tensor:
        """log p of the labels, or for the expectation sqrt(p_c) log p_c for every class c, the root held constant."""
        log_p = self.task.logits(model, example).log_softmax(-1)
        if self.labels != "expected":
            return log_likelihood(log_p, extra)
        return (log_p.detach().div(2).exp() * log_p * extra.unsqueeze(-1)).flatten()

    def extras(self, batch: Any, state: State) -> Tensor:
        """The labels whose log p counts, or for the expectation which positions count."""
        if self.labels == "empirical":
            return self.task.targets(batch)
        with torch.no_grad():
            logits = self.task.checked(self.model, batch)
        if not torch.isfinite(logits).all():
            raise NonFinite(f"the logits hold NaN or Inf in batch {state.batches}; look at that batch and at the model's dtype.")
        counts = self.task.counted(logits, batch)
        return counts if self.labels == "expected" else self.drawn(logits, state.examples).where(counts, IGNORED)

    def drawn(self, logits: Float[Tensor, "examples *positions classes"], first: int) -> Tensor:
        """A label for every position, drawn from p; the numbers come from (seed, number of the example)."""
        shape = logits.shape[1:-1]
        uniform = torch.stack([torch.rand(shape, generator=generator("fisher", self.seed, first + i), dtype=torch.float64) for i in range(len(logits))])
        below = logits.double().softmax(-1).cumsum(-1) < uniform.to(logits.device).unsqueeze(-1)
        return below.sum(-1).clamp_(max=logits.shape[-1] - 1)

    def title(self) -> str:
        """Which Fisher it is."""
        return f"{self.labels} Fisher"
