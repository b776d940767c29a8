"""Renewed statistics are those of the data, however it is cut, and what a normalization then puts out has the mean and spread it says."""

import copy

import pytest
import torch
from torch import Tensor, nn

from loomweight.align import loaded, renew_batch_norm
from loomweight.errors import BadParameter, NonFinite
from loomweight.weights import from_module

from .digits import Cnn, digits, seeded, trained


@pytest.fixture(scope="module")
def scene() -> tuple[nn.Module, Tensor]:
    images, labels, _, _ = digits()
    model = trained(seeded(0, Cnn, 6, 8), images[:400], labels[:400], epochs=2)
    for norm in (model.norm1, model.norm2):
        norm.running_mean.add_(0.3)  # type: ignore[operator, union-attr]
        norm.running_var.mul_(2)  # type: ignore[operator, union-attr]
    return model, images[:300]


def test_one_batch_in_one_pass_is_what_pytorch_does(scene: tuple[nn.Module, Tensor]) -> None:
    model, images = scene
    theirs = copy.deepcopy(model).train()
    for norm in (theirs.norm1, theirs.norm2):
        norm.reset_running_stats()  # type: ignore[operator]
        norm.momentum = None  # type: ignore[assignment]
    theirs(images)
    ours = renew_batch_norm(model, [images])
    for name in ("norm1.running_mean", "norm2.running_mean", "norm1.running_var", "norm2.running_var"):
        torch.testing.assert_close(ours[name], theirs.state_dict()[name], rtol=1e-5, atol=1e-6)


def test_how_the_data_is_cut_does_not_matter(scene: tuple[nn.Module, Tensor]) -> None:
    model, images = scene
    whole = renew_batch_norm(model, [images], layer_by_layer=True)
    cut = renew_batch_norm(model, images.split([10, 113, 177]), layer_by_layer=True)
    first = renew_batch_norm(model, images.split([10, 113, 177]))
    for name in whole.names:
        torch.testing.assert_close(cut[name], whole[name], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(first["norm1.running_var"], whole["norm1.running_var"])  # nothing before it is normalized
    assert not torch.allclose(first["norm2.running_var"], whole["norm2.running_var"], rtol=1e-5)


def test_layer_by_layer_outputs_have_the_mean_and_spread_that_the_weights_say(scene: tuple[nn.Module, Tensor]) -> None:
    model, images = scene
    renewed = loaded(model, renew_batch_norm(model, images.split(70), layer_by_layer=True))
    for name in ("norm1", "norm2"):
        outputs: list[Tensor] = []
        norm = renewed.get_submodule(name)
        handle = norm.register_forward_hook(lambda module, given, output, kept=outputs: kept.append(output))
        with torch.no_grad():
            renewed(images)
        handle.remove()
        var, mean = torch.var_mean(outputs[0].double(), (0, 2, 3))
        eps = norm.running_var / (norm.running_var + norm.eps)  # type: ignore[operator, union-attr]
        torch.testing.assert_close(mean.float(), norm.bias, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(var.float(), norm.weight.square() * eps, rtol=1e-5, atol=1e-6)  # type: ignore[operator]


def test_the_model_is_left_as_it_was(scene: tuple[nn.Module, Tensor]) -> None:
    model, images = scene
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.train()
    renewed = renew_batch_norm(model, images.split(100))
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(torch.equal(before[name], renewed[name]) for name in renewed.names if "running" not in name)


def test_bad_input(scene: tuple[nn.Module, Tensor]) -> None:
    model, images = scene
    with pytest.raises(BadParameter, match="no batch normalization that keeps statistics"):
        renew_batch_norm(nn.Linear(1, 1), [images])
    with pytest.raises(BadParameter, match="at least 2 values per channel"):
        renew_batch_norm(nn.BatchNorm1d(2), [torch.ones(1, 2)])
    with pytest.raises(BadParameter, match="gave no batch"):
        renew_batch_norm(model, [])
    with pytest.raises(NonFinite, match="'norm1' holds NaN"):
        renew_batch_norm(model, [images / 0])


def test_statistics_alone_change(scene: tuple[nn.Module, Tensor]) -> None:
    model, images = scene
    once = renew_batch_norm(model, images.split(100), layer_by_layer=True)
    twice = renew_batch_norm(loaded(model, once), images.split(100), layer_by_layer=True)
    assert all(torch.equal(once[name], twice[name]) for name in once.names)
    assert from_module(model).names == once.names
