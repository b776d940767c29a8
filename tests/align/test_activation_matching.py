"""Matching by activations: recovers copies, ignores what correlation ignores, names what it cannot use."""

import copy

import pytest
import torch
from torch import nn

from loomweight.align import activation_matching
from loomweight.edits import Permute
from loomweight.errors import BadParameter, NonFinite
from loomweight.weights import Weights
from loomweight.weights.axes import axes, random_orders

from .networks import NETWORKS, made, seeded_mlp, table

IMAGES = ("grouped", "residual")
TOKENS = ("llama", "gpt2", "bert")


def data(name: str) -> list:
    generator = torch.Generator().manual_seed(0)
    example = NETWORKS[name][1]
    if name in TOKENS:
        return [{"input_ids": torch.randint(0, 11, (16, 6), generator=generator)} for _ in range(2)]
    if name == "t5":
        return [{key: torch.randint(0, 17, (16, 6), generator=generator) for key in example} for _ in range(2)]
    if name == "vit":
        return [{"pixel_values": torch.randn(8, 3, 8, 8, generator=generator)} for _ in range(2)]
    count = 400 if name == "mlp" else 8  # so that each unit is awake on several
    return [torch.randn(count, *example.shape[1:], generator=generator) for _ in range(2)]


def copied(name: str, seed: int) -> tuple[nn.Module, nn.Module]:
    """A model, and the same with shuffled units."""
    model = made(name, 0)
    twin = copy.deepcopy(model)
    twin.load_state_dict(dict(Permute.by(table(name), random_orders(table(name), seed))(Weights.of(model.state_dict()))))
    return model, twin


def same(edit: Permute, moving: nn.Module, reference: nn.Module) -> bool:
    moved, held = edit(Weights.of(moving.state_dict())), reference.state_dict()
    return all(torch.equal(moved[name], held[name]) for name in held)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_shuffled_copy_is_recovered(name: str) -> None:
    model, twin = copied(name, 1)
    assert same(activation_matching(table(name), twin, model, data(name)), twin, model)


@pytest.mark.parametrize("measure", ["correlation", "product"])
def test_with_itself_nothing_moves(measure: str) -> None:
    assert not activation_matching(table("mlp"), made("mlp", 0), made("mlp", 0), data("mlp"), measure=measure).orders


def test_the_modules_run_although_pytorch_has_a_fast_path() -> None:
    """The widths of the feed-forward layers are seen, so their order does not come from the weights: these are all equal here."""
    model, twin = copied("encoder", 1)
    before = torch.backends.mha.get_fastpath_enabled()
    for module in (model, twin):
        for layer in module.layers:  # type: ignore[union-attr]
            layer.linear2.weight.data.zero_()
    assert same(activation_matching(table("encoder"), twin, model, data("encoder")), twin, model)
    assert torch.backends.mha.get_fastpath_enabled() == before


def test_correlation_does_not_see_scale_and_the_product_does() -> None:
    """f and g are alike; (f, 10 g) against (10 f, g): correlation pairs f with f, the product pairs large with large."""
    model, twin = seeded_mlp(0, 2, 2, 1), seeded_mlp(0, 2, 2, 1)
    functions = torch.tensor([[1.0, 0.0], [1.0, 0.5]])
    for each, sizes in ((model, [1.0, 10.0]), (twin, [10.0, 1.0])):
        each.load_state_dict(each.state_dict() | {"0.weight": functions * torch.tensor(sizes)[:, None], "0.bias": torch.zeros(2)})
    found, inputs = axes(model, torch.ones(1, 2)), [torch.randn(200, 2, generator=torch.Generator().manual_seed(0))]
    assert not activation_matching(found, twin, model, inputs).orders
    assert [order.tolist() for _, order in activation_matching(found, twin, model, inputs, measure="product").orders] == [[1, 0]]


def test_the_product_brings_activations_closest_together() -> None:
    one, other = made("mlp", 1), made("mlp", 2)
    found, inputs = table("mlp"), data("mlp")
    edit = activation_matching(found, one, other, inputs, measure="product")
    twin = copy.deepcopy(one)
    twin.load_state_dict(dict(edit(Weights.of(one.state_dict()))))

    def apart(model: nn.Module, order: torch.Tensor) -> float:
        return sum(float((model[:2](batch)[:, order] - other[:2](batch)).detach().square().sum()) for batch in inputs)  # type: ignore[index]

    generator = torch.Generator().manual_seed(0)
    best = apart(twin, torch.arange(8))
    assert all(best <= apart(twin, torch.randperm(8, generator=generator)) + 1e-6 for _ in range(50))


def test_dead_units_stay_out_of_the_way() -> None:
    model = seeded_mlp(3, 4, 6, 2)
    model[0].weight.data[2], model[0].bias.data[2] = 0, 0
    model[0].weight.data[5], model[0].bias.data[5] = 0, -1
    found = axes(model, torch.ones(1, 4))
    assert not activation_matching(found, model, model, [torch.randn(50, 4, generator=torch.Generator().manual_seed(0))]).orders


def test_the_models_are_left_as_they_were() -> None:
    model, twin = copied("residual", 0)
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    activation_matching(table("residual"), twin, model, data("residual"))
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_batches_are_a_sum_of_examples() -> None:
    one, other = made("mlp", 1), made("mlp", 2)
    whole = activation_matching(table("mlp"), one, other, [torch.cat(data("mlp"))])
    parts = activation_matching(table("mlp"), one, other, data("mlp"))
    assert [(name, order.tolist()) for name, order in whole.orders] == [(name, order.tolist()) for name, order in parts.orders]


def test_bad_input_is_named() -> None:
    model = made("mlp", 0)
    with pytest.raises(BadParameter, match="no batch"):
        activation_matching(table("mlp"), model, model, [])
    with pytest.raises(NonFinite, match="module '0'"):
        activation_matching(table("mlp"), model, model, [torch.full((2, 3), float("nan"))])
    with pytest.raises(BadParameter, match="'correlation' or 'product'"):
        activation_matching(table("mlp"), model, model, data("mlp"), measure="cosine")
