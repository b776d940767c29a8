"""Architecture search of graph networks without training a weight: sparse coefficients of operators whose weights stay as they were drawn.

Paper: Do Not Train It: A Linear Neural Architecture Search of Graph Neural Networks (2023, https://arxiv.org/abs/2305.14065), algorithm 1.
Original code: https://github.com/shipxu123/NAC (nac/controller/nac_induc_controller.py). We differ: the code keeps a random linear readout
and minimises cross entropy; ours solves for the readout in every step, by ridge regression on half of the labelled nodes, and minimises the
squared error on the other half, so that it is the labels that decide. No weight is changed in either.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, one_hot

from ..errors import BadParameter, NonFinite
from .proxies.borrowed import Borrowed, borrowed


@dataclass(frozen=True)
class Coding:
    """What the search found.

    Args:
        coefficients: (layers, operators), each layer of length 1.
        operators: their names.
        losses: objective at every step.
    """

    coefficients: Tensor
    operators: tuple[str, ...]
    losses: tuple[float, ...]

    @property
    def best(self) -> tuple[str, ...]:
        """The operator of the largest coefficient, by layer."""
        return tuple(self.operators[place] for place in self.coefficients.argmax(1).tolist())


def nac(model: nn.Module, inputs: tuple[Any, ...], targets: Tensor, *, sparsity: float = 0.01, steps: int = 100, rate: float = 0.03, seed: int = 0) -> Coding:
    """min over c of |Y - Z(c) W(c)|^2 / nodes + sparsity * |c|_1 with |c| = 1 in every layer; W(c) is the ridge readout of features Z(c).

    Args:
        model: called with the inputs and, last, coefficients (layers, operators); it gives features of nodes, and has `layers` and `operators`
            (names): a `GraphMixture`, or one of your own. It is left as it was; dropout is off.
        inputs: such as features and adjacency.
        targets: class of every node; below 0 where it is not known.
        sparsity: weight of the absolute values of coefficients.
        steps, rate: of Adam.
        seed: of the halves of labelled nodes, from a private generator.

    Raises:
        BadParameter: the model does not say its layers and operators, or does not run; fewer than four labelled nodes.
        NonFinite: the objective is NaN or infinite.

    >>> from loomweight.evaluate import GraphMixture
    >>> model = GraphMixture(2, 16, layers=1, operators=("mlp", "sage"))
    >>> colours, ring = torch.tensor([0, 1] * 10), torch.roll(torch.eye(20), 1, 0) + torch.roll(torch.eye(20), -1, 0)
    >>> nac(model, (one_hot(colours, 2).float(), ring), colours, steps=5).coefficients.shape
    torch.Size([1, 2])
    """
    layers, operators = getattr(model, "layers", None), getattr(model, "operators", None)
    if not isinstance(layers, int) or not operators:
        raise BadParameter(f"nac: {type(model).__name__} should have `layers` (a number) and `operators` (names); GraphMixture is one that has.")
    known = torch.nonzero(targets >= 0).flatten()
    if len(known) < 4:
        raise BadParameter(f"nac: at least 4 labelled nodes are needed, found {len(known)}.")
    halves = _halves(known, seed)
    raw = torch.ones(layers, len(operators), requires_grad=True)
    optimizer, losses = torch.optim.Adam([raw], lr=rate, betas=(0.5, 0.999)), []
    with borrowed(model, "nac") as loan, torch.enable_grad():
        for _ in range(steps):
            unit = normalize(raw, dim=1)
            loss = _error(loan, (*inputs, unit), targets, halves) + sparsity * unit.abs().sum()
            losses.append(loss.item())
            if not np.isfinite(losses[-1]):
                raise NonFinite(f"nac: the objective is {losses[-1]} after {len(losses)} steps; look at the inputs, or take a smaller rate.")
            (raw.grad,) = torch.autograd.grad(loss, [raw])
            optimizer.step()
    return Coding(normalize(raw.detach(), dim=1), tuple(operators), tuple(losses))


def _halves(known: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(known))).to(known.device)
    return known[order[::2]], known[order[1::2]]


def _error(loan: Borrowed, inputs: tuple[Any, ...], targets: Tensor, halves: tuple[Tensor, Tensor], ridge: float = 0.1) -> Tensor:
    """Squared error on one half of the readout that is best on the other."""
    fitted, held = halves
    found = loan.run(inputs).double()
    found = found / found.detach().std().clamp(min=1e-12)
    features = torch.cat([found, torch.ones_like(found[:, :1])], 1)
    due = one_hot(targets.clamp(min=0)).double()
    gram = features[fitted].T @ features[fitted] + ridge * len(fitted) * torch.eye(features.shape[1]).to(features)
    readout = torch.linalg.solve(gram, features[fitted].T @ due[fitted])
    return (features[held] @ readout - due[held]).square().sum(1).mean()
