"""The closed form is least squares, for layers of every kind."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from loomweight.align import loaded, outputs_of, refit
from loomweight.align.patches import matrix, results, rows
from loomweight.errors import BadParameter, NonFinite, UnknownName
from loomweight.weights import from_module

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(5, 3), (5,)),
    "without bias": (lambda: nn.Linear(5, 3, bias=False), (5,)),
    "positions": (lambda: nn.Linear(5, 3), (4, 5)),
    "conv1d": (lambda: nn.Conv1d(2, 4, 3, stride=2, dilation=2), (2, 12)),
    "conv2d": (lambda: nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(1, 2)), (3, 6, 5)),
    "same, reflected": (lambda: nn.Conv2d(2, 4, 3, padding="same", padding_mode="reflect"), (2, 5, 5)),
    "groups": (lambda: nn.Conv2d(4, 6, 3, groups=2, bias=False), (4, 5, 5)),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, groups=4), (4, 5, 5)),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2, padding=1), (2, 3, 3, 3)),
}


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def layer(kind: str, seed: int = 0) -> tuple[nn.Module, Tensor]:
    make, shape = LAYERS[kind]
    module = make()
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            parameter.copy_(numbers(*parameter.shape, seed=seed + number))
    return module, numbers(60, *shape, seed=9)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_is_its_matrix_times_its_rows(kind: str) -> None:
    module, inputs = layer(kind)
    output = module(inputs)
    product = torch.einsum("rgi,gio->rgo", rows(module, inputs), matrix(module))
    bias = module.bias if module.bias is not None else torch.zeros(output.numel() and product.shape[1] * product.shape[2])
    torch.testing.assert_close(results(module, output), product + bias.reshape(product.shape[1:]), rtol=1e-4, atol=1e-5)  # type: ignore[operator]


@pytest.mark.parametrize("kind", LAYERS)
def test_another_layers_outputs_are_learnt_exactly(kind: str) -> None:
    (module, inputs), (teacher, _) = layer(kind), layer(kind, seed=5)
    model, wanted = nn.Sequential(module), nn.Sequential(teacher)
    fitted = refit(model, "0", inputs.split(17), outputs_of(wanted, "0"), ridge=0)
    for name, tensor in wanted.state_dict().items():
        torch.testing.assert_close(fitted[name], tensor, rtol=1e-4, atol=1e-4)


def test_the_solution_is_that_of_lstsq() -> None:
    module, inputs = layer("positions")
    targets = numbers(60, 4, 3, seed=3)
    fitted = refit(nn.Sequential(nn.Tanh(), module), "1", [(inputs, targets)], lambda batch: batch[1], ridge=0)
    x = torch.cat([inputs.tanh().reshape(-1, 5), torch.ones(240, 1)], 1).double()
    theirs = torch.linalg.lstsq(x, targets.reshape(-1, 3).double()).solution
    torch.testing.assert_close(torch.cat([fitted["1.weight"].T, fitted["1.bias"][None]]), theirs.float(), rtol=1e-5, atol=1e-5)


def test_the_ridge_pulls_to_what_was_there_and_ridge_is_rows_of_data() -> None:
    module, inputs = layer("without bias")
    targets = numbers(60, 3, seed=3)
    before = module.weight.detach().double().T  # type: ignore[operator, union-attr]
    fitted = refit(nn.Sequential(module), "0", [(inputs, targets)], lambda batch: batch[1], ridge=0.3)
    level = (0.3 * inputs.double().square().sum(0).mean()).sqrt()
    x = torch.cat([inputs.double(), level * torch.eye(5)])
    theirs = torch.linalg.lstsq(x, torch.cat([targets.double(), level * before])).solution
    torch.testing.assert_close(fitted["0.weight"].T.double(), theirs, rtol=1e-5, atol=1e-5)
    strong = refit(nn.Sequential(module), "0", [(inputs, targets)], lambda batch: batch[1], ridge=1e12)
    torch.testing.assert_close(strong["0.weight"], module.weight, rtol=1e-5, atol=1e-6)


def test_a_teacher_that_overwrites_its_outputs_is_read_before() -> None:
    module, inputs = layer("linear")
    torch.testing.assert_close(outputs_of(nn.Sequential(module, nn.ReLU(inplace=True)), "0")(inputs), module(inputs))


def test_what_the_data_does_not_see_stays() -> None:
    module, inputs = layer("without bias")
    inputs[:, 2] = 0
    fitted = refit(nn.Sequential(module), "0", [(inputs, numbers(60, 3))], lambda batch: batch[1], ridge=0)
    torch.testing.assert_close(fitted["0.weight"][:, 2], module.weight[:, 2])  # type: ignore[index]


def test_no_other_weights_do_better() -> None:
    module, inputs = layer("conv2d")
    targets = numbers(*module(inputs).shape, seed=3)
    best = refit(nn.Sequential(module), "0", [(inputs, targets)], lambda batch: batch[1], ridge=0)
    error = (loaded(nn.Sequential(module), best)(inputs) - targets).square().mean()
    for seed in range(5):
        other = {name: tensor + 0.01 * numbers(*tensor.shape, seed=seed) for name, tensor in best.items()}
        twin = nn.Sequential(layer("conv2d")[0])
        twin.load_state_dict(other)
        assert (twin(inputs) - targets).square().mean() > error


def test_bad_input() -> None:
    module, inputs = layer("linear")
    model = nn.Sequential(module, nn.ReLU())
    with pytest.raises(UnknownName, match="no module named '7'"):
        refit(model, "7", [inputs], lambda batch: batch)
    with pytest.raises(BadParameter, match="'1' is a ReLU"):
        refit(model, "1", [inputs], lambda batch: batch)
    with pytest.raises(BadParameter, match=r"shape \(60, 5\), '0' puts out \(60, 3\)"):
        refit(model, "0", [inputs], lambda batch: batch)
    with pytest.raises(BadParameter, match="at least 0, found -1"):
        refit(model, "0", [inputs], outputs_of(model, "0"), ridge=-1)
    with pytest.raises(NonFinite, match="'0' hold NaN"):
        refit(model, "0", [inputs / 0], outputs_of(model, "0"))
    assert refit(model, "0", [inputs], outputs_of(model, "0")).names == from_module(model).names
