"""A mixture of weights whose router sees the inputs of the layer: what it computes, what it learns, and that it cannot be folded."""

import pytest
import torch
from torch import Tensor, nn

from loomweight.derive import Mixture, derive, fold
from loomweight.errors import BadParameter


class Router(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(x.mean(0)).softmax(-1)


def mixture() -> tuple[nn.Sequential, list[nn.Parameter], Router]:
    torch.manual_seed(0)
    layer, router = nn.Sequential(nn.Linear(3, 4)), Router()
    experts = [nn.Parameter(torch.randn(4, 3)) for _ in range(2)]
    derive(layer, "0.weight", Mixture(experts, router, by_input=True))
    return layer, experts, router


def test_before_any_input_all_experts_count_alike() -> None:
    layer, experts, _ = mixture()
    torch.testing.assert_close(layer[0].weight, (experts[0] + experts[1]) / 2)


def test_each_batch_is_mixed_as_the_router_says() -> None:
    layer, experts, router = mixture()
    for seed in range(2):
        x = torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))
        first, second = router(x)
        outputs = [x @ expert.T for expert in experts]
        torch.testing.assert_close(layer(x), first * outputs[0] + second * outputs[1] + layer[0].bias)
    layer(x).square().sum().backward()
    assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in (*experts, router.scores.weight))


def test_what_depends_on_inputs_is_not_folded() -> None:
    layer, _, _ = mixture()
    with pytest.raises(BadParameter, match="weight of Linear is a Mixture by the inputs of the module"):
        fold(layer)
