"""Straight-through matching lowers the loss at the midpoint, which weight matching does not look at."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import loomweight as lw
from loomweight.align import straight_through, weight_matching
from loomweight.align.descent import Climb
from loomweight.align.straight_through import Training
from loomweight.align.weight_matching import matched
from loomweight.edits import Permute
from loomweight.errors import BadParameter
from loomweight.weights import Weights
from loomweight.weights.axes import axes, random_orders

from .digits import Cnn, Mlp, digits, seeded, trained
from .networks import made, table


def midpoint_loss(model: nn.Module, moved: Weights, reference: Weights, batch: tuple) -> float:
    model.load_state_dict({name: (moved[name] + reference[name]) / 2 if reference[name].is_floating_point() else reference[name] for name in reference})
    with torch.no_grad():
        return float(cross_entropy(model.eval()(batch[0]), batch[1]))


@pytest.fixture(scope="module")
def apart() -> tuple[nn.Module, Weights, Weights, tuple]:
    images, labels, *_ = digits()
    models = [trained(seeded(seed, Mlp, 32), images, labels, epochs=12, seed=seed) for seed in (1, 2)]
    sets = [Weights.of({name: tensor.clone() for name, tensor in model.state_dict().items()}) for model in models]
    return models[0], sets[0], sets[1], (images[:600], labels[:600])


def test_the_midpoint_gets_a_lower_loss_than_by_weights_alone(apart: tuple) -> None:
    model, moving, reference, batch = apart
    found = axes(model, batch[0][:1])
    naive = midpoint_loss(model, moving, reference, batch)
    by_weights = midpoint_loss(model, weight_matching(found, moving, reference)(moving), reference, batch)
    edit = straight_through(found, moving, reference, model, [batch], training=Training(epochs=40, rate=1.0))
    through = midpoint_loss(model, edit(moving), reference, batch)
    assert through < by_weights < naive


def test_without_a_rate_it_is_weight_matching(apart: tuple) -> None:
    model, moving, reference, batch = apart
    found = axes(model, batch[0][:1])
    edit = straight_through(found, moving, reference, model, [batch], training=Training(rate=0.0))
    assert [order.tolist() for _, order in edit.orders] == [order.tolist() for _, order in weight_matching(found, moving, reference).orders]


def test_a_shuffled_copy_is_recovered(apart: tuple) -> None:
    model, moving, _, batch = apart
    found = axes(model, batch[0][:1])
    shuffled = Permute.by(found, random_orders(found, 1))(moving)
    back = straight_through(found, shuffled, moving, model, [batch] * 3)(shuffled)
    assert all(torch.equal(back[name], moving[name]) for name in moving)


def test_the_gradient_is_that_of_the_midpoint_halved(apart: tuple) -> None:
    """One step by hand: latent = reference - rate / 2 * gradient at the midpoint; its projection decides the second step."""
    model, moving, reference, batch = apart
    found = axes(model, batch[0][:1])
    begin = dict(weight_matching(found, moving, reference).orders)
    first = Permute.by(found, begin)(moving)
    at = {name: ((reference[name] + first[name]) / 2).requires_grad_() for name in reference}
    gradients = torch.autograd.grad(cross_entropy(torch.func.functional_call(model.eval(), at, (batch[0],)), batch[1]), list(at.values()))

    def second(step: float) -> Weights:
        latent = Weights.of({name: reference[name] - step * gradient for name, gradient in zip(at, gradients, strict=True)})
        climb = Climb(*matched(found, moving, latent), begin)
        climb.ascend(100, 0)
        return Permute.by(found, climb.orders)(moving)

    told = [rate for rate in (2.0**k for k in range(3, 14)) if not same(second(rate / 2), second(rate)) and not same(second(rate / 2), first)]
    rate = told[0]  # one at which a whole step would end elsewhere than half a step
    seen: list[dict] = []

    def loss(asked: nn.Module, given: tuple) -> torch.Tensor:
        seen.append({name: tensor.detach().clone() for name, tensor in asked.named_parameters()})
        return cross_entropy(asked(given[0]), given[1])

    straight_through(found, moving, reference, model, [batch], loss=loss, training=Training(epochs=2, rate=rate, momentum=0.0))
    assert all(torch.allclose(seen[1][name], (reference[name] + second(rate / 2)[name]) / 2) for name in seen[1])


def same(one: Weights, other: Weights) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_batch_normalization_and_the_model_stay_as_they_were() -> None:
    images, labels, *_ = digits()
    model = seeded(0, Cnn, 4, 5)
    found = axes(model.eval(), images[:2])
    other = lw.load(seeded(1, Cnn, 4, 5))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    held = Weights.of(before)
    edit = straight_through(found, other, held, model, [(images[:50], labels[:50])], training=Training(epochs=2))
    assert edit.orders
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_bad_input() -> None:
    model, held = made("mlp", 0), lw.load(made("mlp", 0))
    with pytest.raises(BadParameter, match="no batch"):
        straight_through(table("mlp"), held, held, model, [])
    with pytest.raises(BadParameter, match="finite"):
        straight_through(table("mlp"), held, held, model, [torch.ones(2, 3)], loss=lambda asked, batch: asked(batch).sum() * float("nan"))
    with pytest.raises(BadParameter, match=r"no tensor '0\.bias'"):
        straight_through(table("mlp"), held, held, made("gru", 0), [torch.ones(2, 3)])
