"""Straight-through matching: the permutation under which the midpoint of two networks has a low loss.

Paper: Git Re-Basin: Merging Models modulo Permutation Symmetries (2022, https://arxiv.org/abs/2209.04836), Algorithm 3. Original code:
https://github.com/samuela/git-re-basin, src/mnist_mlp_ste2.py.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..edits.permute import Permute
from ..engines.progress import track
from ..errors import BadParameter
from ..evidence import batches
from ..evidence.task import Task
from ..evidence.untouched import untouched
from ..weights import Weights
from ..weights.axes.table import Axes
from .descent import Climb, started
from .families import Family
from .pairs import Pair
from .weight_matching import matched

#: (model, batch) -> the loss, a tensor with one number
Loss = Callable[[nn.Module, Any], Tensor]


@dataclass(frozen=True)
class Training:
    """How the latent weights are trained: gradient descent with momentum over the loader, several times."""

    epochs: int = 1
    rate: float = 1e-2
    momentum: float = 0.9
    sweeps: int = 100
    progress: bool = False


def cross_entropy(model: nn.Module, batch: Any) -> Tensor:
    """Of class scores, for batches (inputs, labels) or the dicts of Transformers' classifiers."""
    return Task().loss(model, batch)


def straight_through(
    axes: Axes,
    moving: Weights,
    reference: Weights,
    model: nn.Module,
    loader: Iterable[Any],
    *,
    loss: Loss = cross_entropy,
    training: Training = Training(),
) -> Permute:
    """min over orders P of loss((reference + P(moving)) / 2), by gradients that go straight through the projection onto orders.

    Latent weights start at the reference. In each step P is the order of `moving` with the largest inner product with them (weight
    matching, from the last P); the loss is taken at the midpoint of the reference and P(moving), and its gradient at P(moving) is
    applied to the latent weights as if they were P(moving). The P whose midpoint had the lowest loss on its batch is returned.

    Args:
        axes: which axes carry which units, for both sets.
        moving: is brought into the coordinates of `reference`.
        reference: stays.
        model: is run with the weights of the midpoint, in evaluation mode, batch normalization by the batch's own statistics (those of a
            midpoint of running statistics would be wrong); its own weights do not matter and are left as they were.
        loader: gives batches, gone through in each epoch.
        loss: (model, batch) -> one number; by default the cross entropy of (inputs, labels).
        training: epochs, rate and momentum of the latent weights' descent, sweeps of the matching, a bar.

    Returns:
        The edit with the lowest loss met.

    Raises:
        BadParameter: the loader gave no batch; the loss is no finite number; the model lacks a tensor of the sets.

    >>> from loomweight.weights.axes import axes, random_orders
    >>> model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    >>> table, weights = axes(model, torch.zeros(1, 3)), lw.load(model)
    >>> shuffled = Permute.by(table, random_orders(table))(weights)
    >>> back = straight_through(table, shuffled, weights, model, [(torch.randn(8, 3), torch.ones(8).long())])(shuffled)
    >>> torch.equal(back["0.weight"], weights["0.weight"])
    True
    """
    pair, families = matched(axes, moving, reference)
    if lacking := [name for name in reference.names if name not in model.state_dict()]:
        raise BadParameter(f"the model has no tensor {lacking[0]!r}, which the sets have; give the model that the sets belong to.")
    latent = {name: reference[name].to(reference.spec[name].work, copy=True).requires_grad_() for name in pair.tensors}
    optimizer = torch.optim.SGD(latent.values(), lr=training.rate, momentum=training.momentum)
    asked = _Asked(model, loss)
    found = _Best(pair, families)
    with untouched(model), torch.enable_grad():
        _batch_statistics(model)
        for epoch in range(training.epochs):
            for batch in track(loader, f"straight through, epoch {epoch + 1}", show=training.progress):
                orders = found.projected(latent, training.sweeps)
                value, gradients = asked.at(_midpoint(reference, Permute.by(axes, orders)(moving), model), list(latent), batch)
                found.keep(value, orders)
                for tensor, gradient in zip(latent.values(), gradients, strict=True):
                    tensor.grad = gradient.to(tensor) / 2  # the midpoint moves half as far
                optimizer.step()
    return Permute.by(axes, found.best())


class _Best:
    """The projection onto orders, which goes on from the last one; and the orders with the lowest loss."""

    def __init__(self, pair: Pair, families: list[Family]) -> None:
        self.pair, self.families = pair, families
        self.orders: dict[str, Tensor] | None = None
        self.kept: tuple[float, dict[str, Tensor]] | None = None

    def projected(self, latent: Mapping[str, Tensor], sweeps: int) -> dict[str, Tensor]:
        """The orders that come closest to the latent weights."""
        held = self.pair.reference
        target = Weights.of({name: latent[name].detach() if name in latent else held[name] for name in held})
        pair = Pair(self.pair.axes, self.pair.moving, target)
        climb = started(pair, self.families) if self.orders is None else Climb(pair, self.families, self.orders)
        climb.ascend(sweeps, 0)
        self.orders = climb.orders
        return climb.orders

    def keep(self, value: float, orders: dict[str, Tensor]) -> None:
        """Remember orders if their loss is the lowest."""
        if self.kept is None or value < self.kept[0]:
            self.kept = value, orders

    def best(self) -> dict[str, Tensor]:
        """The orders to return."""
        if self.kept is None:
            raise BadParameter("the loader gave no batch, or there were no epochs; straight-through matching needs at least one step.")
        return self.kept[1]


class _Asked(nn.Module):
    """A model and a loss as one module, so that the model's weights can be lent for a call."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, batch: Any) -> Tensor:
        return self.loss(self.model, batch)

    def at(self, weights: Mapping[str, Tensor], names: list[str], batch: Any) -> tuple[float, list[Tensor]]:
        """The loss with these weights, and its gradients at some of them; 0 where it does not depend on one."""
        lent = {f"model.{name}": tensor for name, tensor in weights.items()}
        value = functional_call(self, lent, (batches.to_device(batch, weights[names[0]].device),))
        if value.numel() != 1 or not torch.isfinite(value).all():
            raise BadParameter(f"the loss must be one finite number, found {value.detach().tolist()}; look at the data, or lower the rate.")
        asked = [weights[name] for name in names]
        gradients = torch.autograd.grad(value.reshape(()), asked, allow_unused=True)
        return float(value.detach()), [torch.zeros_like(at) if found is None else found for at, found in zip(asked, gradients, strict=True)]


def _midpoint(reference: Weights, moved: Weights, model: nn.Module) -> dict[str, Tensor]:
    """(reference + moved) / 2 in the model's dtypes, which wants gradients; what cannot be averaged is the reference's."""
    found, trained = {}, {name for name, _ in model.named_parameters(remove_duplicate=False)}
    for name, held in model.state_dict().items():
        if name in reference and reference.ties.get(name, name) == name:
            averages = reference.spec[name].averages
            work = reference.spec[name].work
            value = (reference[name].to(work) + moved[name].to(work)) / 2 if averages else reference[name].clone()
            found[name] = value.to(held).requires_grad_(name in trained and averages)
    return found | {alias: found[owner] for alias, owner in reference.ties.items()}


def _batch_statistics(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train()
