"""The diagonal of the Hessian of a loss, estimated from Hessian-vector products.

Papers: An estimator for the diagonal of a matrix (2007, https://doi.org/10.1016/j.apnum.2007.01.003), of which this is the
form for probes of +1 and -1; AdaHessian: An Adaptive Second Order Optimizer for Machine Learning (2020,
https://arxiv.org/abs/2006.00719), equation 6. Used as the precision in Model Merging by Uncertainty-Based Gradient Matching.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..errors import BadParameter
from ..weights import Weights
from . import batches
from .collect import Run, collect
from .fold import Fold, State, as_weights, refuse_nonfinite, zeros
from .gradients import Called, Loss, gradients, leaves, scalar
from .keyed import generator
from .task import Task


def hessian_diagonal(
    model: nn.Module,
    loader: Iterable[Any],
    loss: Loss | None = None,
    *,
    probes: int = 1,
    samples: int | None = None,
    seed: int = 0,
    run: Run | None = None,
) -> Weights:
    """Diagonal of the Hessian of the mean loss, by Hutchinson's method.

        diag(H) = E_z [ z * (H z) ],    z of independent +1 and -1.

    Unbiased; exact where H is diagonal. The error of an entry has variance sum_{j != i} H_ij^2 for one probe; it falls with the
    number of probes times the number of batches, as every batch draws its own. Entries may be negative where the loss is not
    convex: a rule that needs a precision must say what it does with them.

    Args:
        model: is used in evaluation mode and left as it was; it must be differentiable twice.
        loader: gives batches; the first axis of every tensor in them is the examples.
        loss: (model, batch) -> the mean over the batch's examples; by default that of `Task()`, cross entropy.
        probes: Hessian-vector products for each batch.
        samples: stop after so many examples.
        seed: of the probes; they depend on (seed, parameter name, batch, probe) alone.
        run: progress bar and checkpoints.

    Returns:
        One tensor a parameter, in float32 (float64 for float64 models).

    Raises:
        BadParameter: no example, no probe, a loss that is not one number, a checkpoint of something else.
        NonFinite: the loss or a product is NaN or Inf; the message names the parameter and the batch.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> batch = (torch.tensor([[3.0, 0.0], [0.0, 4.0]]), torch.zeros(2))
    >>> hessian_diagonal(model, [batch], lambda m, b: (m(b[0])[:, 0] - b[1]).square().mean() / 2)["weight"]
    tensor([[4.5000, 8.0000]])
    """
    if probes < 1:
        raise BadParameter(f"the Hessian's diagonal needs at least 1 probe, found {probes}.")
    return collect(HessianDiagonal(model, loss or Task().loss, probes, seed), loader, run or Run(), samples)


@dataclass(frozen=True)
class HessianDiagonal(Fold):
    """Sums over examples of z * (H z), averaged over probes."""

    loss: Loss
    probes: int
    seed: int
    words: ClassVar[str] = "Hessian diagonal"

    @cached_property
    def called(self) -> Called:
        """The loss as a module."""
        return Called(self.model, self.loss)

    def start(self) -> State:
        """No example yet."""
        return State(zeros(self.model))

    def add(self, state: State, batch: Any) -> State:
        """Add one batch's products, by its number of examples."""
        parameters = leaves(self.model)
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):  # the fused kernels of attention differentiate once only
            first = gradients(scalar(self.called, parameters, batch, state.batches), parameters, again=True)
            for probe in range(self.probes):
                signs = {name: self.signs(name, parameter, state.batches, probe) for name, parameter in parameters.items()}
                along = torch.stack([(first[name] * signs[name]).sum() for name in parameters]).sum()
                products = gradients(along, parameters, keep=probe + 1 < self.probes)
                refuse_nonfinite(products, "Hessian-vector product", state.batches)
                for name, product in products.items():
                    state.sums[name] += batches.size(batch) / self.probes * signs[name] * product
        return state

    def value(self, state: State) -> Weights:
        """The mean over the examples."""
        means = {name: (total / state.examples).cpu() for name, total in state.sums.items()}
        words = f"Hessian diagonal of {type(self.model).__name__}, {state.examples} examples, {self.probes} probes a batch"
        return as_weights(self.model, means, words)

    def signs(self, name: str, like: Tensor, batch: int, probe: int) -> Tensor:
        """A probe's part for one parameter."""
        bits = torch.randint(0, 2, like.shape, generator=generator("hessian", self.seed, name, batch, probe), dtype=torch.int8)
        return (2 * bits - 1).to(like)
