"""The Hessian's diagonal against quadratics and the exact Hessian."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from loomweight.errors import BadParameter, NonFinite
from loomweight.evidence import Task, gradient_norms, hessian_diagonal

from .nets import data, filled, mlp, numbers, speaker


class Point(nn.Module):
    """Parameters and nothing else."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.at = nn.Parameter(numbers(size))
        self.spare = nn.Parameter(torch.ones(2))


def quadratic(matrix: Tensor) -> Callable[[nn.Module, Tensor], Tensor]:
    return lambda model, batch: batch.mean() * (model.at @ matrix @ model.at) / 2


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_exact_where_the_hessian_is_diagonal(seed: int) -> None:
    curves = torch.tensor([3.0, -2.0, 0.0, 0.5])
    found = hessian_diagonal(Point(4), [torch.ones(2), torch.full((2,), 3.0)], quadratic(curves.diag()), seed=seed)
    assert_close(found["at"], 2 * curves)  # the batches' factors are 1 and 3
    assert_close(found["spare"], torch.zeros(2))


def test_unbiased_with_the_variance_of_the_formula() -> None:
    """One probe's error of entry i has mean 0 and variance sum_{j != i} H_ij^2."""
    half = numbers(5, 5, seed=3)
    matrix = half + half.T
    draws = torch.stack([hessian_diagonal(Point(5), [torch.ones(1)], quadratic(matrix), seed=seed)["at"] for seed in range(300)])
    variance = (matrix**2).sum(1) - matrix.diagonal() ** 2
    assert ((draws.mean(0) - matrix.diagonal()).abs() < 5 * (variance / 300).sqrt()).all()
    assert_close(draws.var(0), variance, rtol=0.35, atol=0)  # 300 draws tell a variance to about 8 %, five times that is allowed


def test_more_probes_are_their_mean() -> None:
    matrix = numbers(4, 4) + numbers(4, 4).T
    one, many = (hessian_diagonal(Point(4), [torch.ones(1)], quadratic(matrix), probes=n)["at"] for n in (1, 1500))
    assert not torch.allclose(one, matrix.diagonal(), atol=0.3)
    assert_close(many, matrix.diagonal(), atol=0.3, rtol=0)


def test_a_real_net_against_the_exact_hessian() -> None:
    """Mean over many probes of an MLP with batch norm, two batches of different sizes; exact by differentiating twice."""
    model, batches = mlp().double(), [(x.double(), y) for x, y in data(count=8, batch=5)]
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    model.eval()
    flat = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(torch.func.functional_call(model, parameters, (x,)), y)

    exact = torch.func.jacrev(torch.func.jacrev(loss))(flat)
    found = hessian_diagonal(model, batches, probes=400)
    for name, parameter in flat.items():
        matrix = exact[name][name].reshape(parameter.numel(), -1)
        whole = torch.cat([exact[name][other].reshape(parameter.numel(), -1) for other in flat], 1)
        sigma = ((whole**2).sum(1) - matrix.diagonal() ** 2).div(400).sqrt().reshape(parameter.shape)
        # each of the two batches has a larger Hessian of its own than the mean has: hence a generous bound on the error
        assert ((found[name] - matrix.diagonal().reshape(parameter.shape)).abs() < 12 * sigma + 1e-6).all(), name


def test_attention_is_differentiated_twice() -> None:
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            q = self.into(x)
            return nn.functional.scaled_dot_product_attention(q, q, q).mean(1)

    found = hessian_diagonal(filled(Attending()), [(numbers(3, 5, 4), torch.tensor([0, 1, 2]))])
    assert found["into.weight"].abs().sum() > 0


def test_the_seed_and_the_name_decide_the_probe() -> None:
    batches = data()
    first, same, other = (hessian_diagonal(mlp(), batches, seed=seed)["0.weight"] for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.allclose(first, other)


def test_shared_parameters_have_one_diagonal() -> None:
    ids = torch.arange(6)[None]
    found = hessian_diagonal(speaker(), [ids], lambda m, b: m(b).log_softmax(-1)[:, :, 0].mean())
    assert found.ties == {"head.weight": "embed.weight"}


def test_norms_are_those_of_the_gradients_weighted_by_examples() -> None:
    model, batches = mlp().eval(), data(count=12, batch=5)
    expected = torch.zeros(())
    for x, y in batches:
        loss = nn.functional.cross_entropy(model(x), y)
        expected += len(x) * torch.autograd.grad(loss, model[0].weight)[0].norm() / 12
    found = gradient_norms(model, batches)
    assert_close(found["0.weight"], expected)
    assert {spec.shape for spec in found.spec.values()} == {()}


def never(model: nn.Module, batch: object) -> Tensor:
    return model.at.sum() * float("nan")


@pytest.mark.parametrize("collect", [hessian_diagonal, gradient_norms])
def test_bad_losses(collect: Callable[..., object]) -> None:
    with pytest.raises(NonFinite, match="the loss is nan in batch 0"):
        collect(Point(3), [torch.ones(1)], never)
    with pytest.raises(BadParameter, match=r"a loss is one number, .* found shape \(3,\)"):
        collect(Point(3), [torch.ones(1)], lambda m, b: m.at)
    with pytest.raises(BadParameter, match="found float"):
        collect(Point(3), [torch.ones(1)], lambda m, b: 1.0)
    with pytest.raises(BadParameter, match="the loader gave no example"):
        collect(Point(3), [], never)


def test_infinite_derivatives_are_named() -> None:
    """The root has no derivative at 0, though its value is finite."""
    model = Point(3)
    with torch.no_grad():
        model.at.zero_()
    with pytest.raises(NonFinite, match="of 'at' holds NaN or Inf in batch 0"):
        hessian_diagonal(model, [torch.ones(1)], lambda m, b: m.at.abs().sqrt().sum())
    with pytest.raises(NonFinite, match="the gradient of 'at' holds NaN or Inf in batch 0"):
        gradient_norms(model, [torch.ones(1)], lambda m, b: m.at.abs().sqrt().sum())


def test_probes() -> None:
    with pytest.raises(BadParameter, match="at least 1 probe, found 0"):
        hessian_diagonal(mlp(), data(), probes=0)


def test_the_loss_of_a_task_is_cross_entropy() -> None:
    model, ((x, y), *_) = mlp().eval(), data()
    assert_close(Task().loss(model, (x, y)), nn.functional.cross_entropy(model(x), y))
    ignored = y.clone()
    ignored[2:] = -100
    assert_close(Task().loss(model, (x, ignored)) * len(x) / 2, nn.functional.cross_entropy(model(x), ignored))
