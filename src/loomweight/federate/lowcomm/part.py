"""A part of a model that is synchronised at one time: what all workers last agreed on, and how far this worker went from it."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...weights.spec import cast
from .bucket import Bucket

Outer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
_COUNTS = "num_batches_tracked"


class Part:
    """Tensors of a model.

    Trained parameters are stepped on, or averaged; floating buffers (BatchNorm's statistics) are averaged; counts of batches become the largest; all else
    stays as it is.

    Args:
        tensors: the model's own, by name.
        outer: makes the optimizer of the agreed values; None averages.
    """

    def __init__(self, tensors: dict[str, Tensor], outer: Outer | None) -> None:
        self.live = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
        self.counts = {name: tensor for name, tensor in tensors.items() if name.endswith(_COUNTS)}
        self.memory, self.scratch = Bucket(self.live), Bucket(self.live)
        self.agreed = {name: nn.Parameter(view) for name, view in self.memory.views.items()}
        self.stepped = {name: value for name, value in self.agreed.items() if outer and isinstance(self.live[name], nn.Parameter)}
        self.outer = outer(list(self.stepped.values())) if outer and self.stepped else None
        self.remember()

    @torch.no_grad()
    def remember(self) -> None:
        """What the model holds now is agreed on."""
        for name, value in self.agreed.items():
            value.copy_(self.live[name])

    @torch.no_grad()
    def update(self) -> Bucket:
        """theta_old - theta_i: agreed values, as the model's dtype can hold them, minus the model's; it lies where the last one lay."""
        found = self.scratch
        for name, tensor in self.live.items():
            begun = self.agreed[name] if self.agreed[name].dtype == tensor.dtype else cast(self.agreed[name], tensor.dtype, name).to(self.agreed[name].dtype)
            torch.sub(begun, tensor, out=found.views[name])
        return found

    @torch.no_grad()
    def apply(self, pooled: dict[str, Tensor], counts: Sequence[int]) -> None:
        """A step of the agreed values along the pooled update; the model is set to them."""
        for name, value in self.agreed.items():
            if name in self.stepped:
                value.grad = pooled[name]
            else:
                value.sub_(pooled[name])
        if self.outer:
            self.outer.step()
            self.outer.zero_grad()
        for tensor, count in zip(self.counts.values(), counts, strict=True):
            tensor.fill_(count)
        self.restore()

    @torch.no_grad()
    def restore(self) -> None:
        """Set the model to the agreed values; whatever it held, NaN too, is gone."""
        for name, tensor in self.live.items():
            tensor.copy_(cast(self.agreed[name], tensor.dtype, name))

    def state_dict(self) -> dict[str, Any]:
        """Agreed values, counts and the outer optimizer."""
        agreed = {name: value.detach().clone() for name, value in self.agreed.items()}
        return {"agreed": agreed, "counts": {name: int(count) for name, count in self.counts.items()}, "outer": self.outer and self.outer.state_dict()}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there; the model itself stays as it is, but for the counts."""
        for name, value in self.agreed.items():
            value.copy_(state["agreed"][name])
        for name, count in self.counts.items():
            count.fill_(state["counts"][name])
        if self.outer:
            saved = state["outer"]
            self.outer.load_state_dict({**saved, "state": {int(key): value for key, value in saved["state"].items()}})


def parts_of(model: nn.Module, number: int, outer: Outer | None) -> list[Part]:
    """The model's tensors that travel, in their order, cut into parts of about one size."""
    saved = model.state_dict(keep_vars=True).keys()
    params = {name: p for name, p in model.named_parameters() if p.requires_grad}
    tensors: dict[str, Tensor] = {**params, **{name: b for name, b in model.named_buffers() if name in saved}}
    order = sorted(tensors, key=list(saved).index)
    whole, seen = sum(t.numel() for t in tensors.values()), 0
    cut: list[dict[str, Tensor]] = [{} for _ in range(number)]
    for name in order:
        cut[min(seen * number // max(whole, 1), number - 1)][name] = tensors[name]
        seen += tensors[name].numel()
    return [Part(tensors, outer) for tensors in cut if tensors]
