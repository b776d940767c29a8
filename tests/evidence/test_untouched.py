"""Whatever is collected, however it ends: the model is as before."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from loomweight.errors import LoomweightError
from loomweight.evidence import activations, fisher, gradient_norms, hessian_diagonal, input_grams

from .nets import data, filled, numbers


class Restless(nn.Module):
    """Counts its calls in a buffer, and replaces another one, in evaluation mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3))
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("last", torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        self.calls.add_(1)
        self.last = torch.ones(2)
        return self.body(x)


def restless() -> Restless:
    model = filled(Restless())
    model.body[1].eval()
    model.body[0].weight.requires_grad_(False)
    model.body[3].weight.grad = torch.ones(3, 6)
    return model


def picture(model: nn.Module) -> dict[str, object]:
    """All that can be seen of a model, identities of its tensors too."""
    return {
        "modes": [module.training for module in model.modules()],
        "flags": [parameter.requires_grad for parameter in model.parameters()],
        "grads": [id(parameter.grad) for parameter in model.parameters()],
        "grad values": [None if p.grad is None else p.grad.sum().item() for p in model.parameters()],
        "tensors": [(name, id(tensor), tensor.sum().item()) for name, tensor in (*model.named_parameters(), *model.named_buffers())],
        "hooks": [len(module._forward_hooks) + len(module._forward_pre_hooks) + len(module._backward_hooks) for module in model.modules()],
    }


COLLECTORS: list[Callable[..., object]] = [
    fisher,
    lambda model, loader: fisher(model, loader, labels="expected"),
    hessian_diagonal,
    gradient_norms,
    input_grams,
    lambda model, loader: activations(model, loader, modules="body.?"),
]


@pytest.mark.filterwarnings("ignore:this model does not vectorize")
@pytest.mark.parametrize("collect", COLLECTORS)
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_as_before(collect: Callable[..., object], fails: bool) -> None:
    model, batches = restless(), data()
    before, seeded = picture(model), torch.random.get_rng_state()
    if fails:
        with pytest.raises(LoomweightError):
            collect(model, [*batches, (numbers(5, 4) / 0, batches[0][1])])
    else:
        collect(model, batches)
    assert picture(model) == before
    assert torch.equal(torch.random.get_rng_state(), seeded)


def test_the_picture_can_change() -> None:
    """The twin: an ordinary training step leaves traces in every line but the hooks."""
    model = restless()
    before = picture(model)
    model(numbers(5, 4)).sum().backward()
    model.eval()
    after = picture(model)
    assert {key for key in before if before[key] != after[key]} == {"modes", "grads", "grad values", "tensors"}
