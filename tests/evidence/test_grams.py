"""Input Gram matrices: counted by hand, and good for what RegMean does with them."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import loomweight as lw
from loomweight.errors import BadParameter, NonFinite, UnknownName
from loomweight.evidence import activations, input_axes, input_grams

from .nets import data, filled, mlp, numbers, speaker


def test_by_hand_on_a_net_with_batch_norm_and_dropout() -> None:
    model, batches = mlp(), data()
    found = input_grams(model, batches)
    x = torch.cat([x for x, _ in batches]).double()
    hidden = model.eval()[:4](x.float()).detach().double()
    assert_close(found["0.weight"], x.T @ x)
    assert_close(found["4.weight"], hidden.T @ hidden)
    assert found.names == ("0.weight", "4.weight")
    assert found.label == "input Gram matrices of 2 modules of Sequential, 12 rows"
    assert_close(input_grams(model, batches, normalize=True)["0.weight"], x.T @ x / 12)


def test_positions_are_rows_and_padding_is_none() -> None:
    model, ids = speaker(), torch.randint(0, 7, (3, 5), generator=torch.Generator().manual_seed(4))
    short = input_grams(model, [{"input_ids": ids}], modules="mix")
    padded = {"input_ids": nn.functional.pad(ids, (0, 4)), "attention_mask": nn.functional.pad(torch.ones_like(ids), (0, 4))}
    found = input_grams(model, [padded], modules="mix")
    assert_close(found["mix.weight"], short["mix.weight"])
    seen = model.embed(ids).cumsum(1).div(torch.arange(1, 6).unsqueeze(-1)).reshape(-1, 4).double()
    assert_close(short["mix.weight"], (seen.T @ seen).detach())


def test_layers_that_share_a_weight_share_the_sum() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
            self.second.weight = self.first.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x))

    model, x = filled(Twice()), numbers(6, 3)
    found = input_grams(model, [x])
    rows = torch.cat([x, model.first(x).detach()]).double()
    assert found.ties == {"second.weight": "first.weight"}
    assert_close(found["first.weight"], rows.T @ rows)


def test_a_module_called_twice_counts_twice() -> None:
    layer = nn.Linear(3, 3)
    found = input_grams(filled(nn.Sequential(layer, layer)), [numbers(6, 3)], modules="0")
    assert found.label.endswith("12 rows")


def test_conv1d_of_transformers_is_met_on_the_other_side() -> None:
    conv1d = pytest.importorskip("transformers.pytorch_utils").Conv1D
    model = nn.Sequential(conv1d(2, 3), nn.Linear(2, 3))
    x = numbers(5, 3).double()
    assert_close(input_grams(model, [x.float()])["0.weight"], x.T @ x)
    assert input_axes(model) == {"0.weight": 0, "1.weight": 1}


def test_float64_keeps_the_null_space_empty() -> None:
    """Two rows in 32 dimensions far from 0: rank 2; rounded products leave noise where the rank is missing."""
    x = 100 + numbers(2, 32)
    gram = input_grams(nn.Linear(32, 1), [x])["weight"]
    assert gram.dtype == torch.float64
    size = torch.linalg.eigvalsh(gram)
    assert size[:-2].abs().max() < 1e-12 * size[-1]
    assert torch.linalg.eigvalsh((x.T @ x).double())[:-2].abs().max() > 1e-9 * size[-1]  # the twin


def test_regmean_with_them_is_the_least_squares_solution() -> None:
    """The paper's claim: the merged layer minimizes the sum of |X_i W - X_i W_i|^2; any step away from it is worse."""
    models = [filled(nn.Linear(4, 3, bias=False), seed=seed) for seed in (1, 2)]
    inputs = [numbers(20, 4, seed=seed) * torch.tensor([3.0, 1.0, 1.0, 0.2]).roll(seed) for seed in (1, 2)]
    grams = tuple(input_grams(model, [x]) for model, x in zip(models, inputs, strict=True))
    merged = lw.combine([model.state_dict() for model in models], lw.rules.RegMean(grams, keep=1.0))["weight"].double()

    def regret(weight: Tensor) -> float:
        return sum(float((x.double() @ (weight - m.weight.detach().double()).T).square().sum()) for m, x in zip(models, inputs, strict=True))

    best = regret(merged)
    assert best < 0.9 * regret(torch.stack([m.weight.detach().double() for m in models]).mean(0))
    for seed in range(20):
        assert regret(merged + 1e-2 * numbers(3, 4, seed=seed).double()) > best


def test_other_modules_are_left_out_of_all_but_refused_when_named() -> None:
    model = nn.Sequential(nn.Conv1d(2, 2, 1), nn.Flatten(), filled(nn.Linear(6, 2)))
    x = numbers(4, 2, 3)
    assert input_grams(model, [x]).names == ("2.weight",)
    with pytest.raises(BadParameter, match=r"'\?' also matches '0 \(Conv1d\)'; narrow the pattern"):
        input_grams(model, [x], modules="?")
    with pytest.raises(BadParameter, match="no module that matches '1' is linear; found '1'"):
        input_grams(model, [x], modules="1")
    with pytest.raises(UnknownName, match="no module that matches named 'lin\\*'"):
        input_grams(model, [x], modules="lin*")


def test_modules_that_never_run_are_named() -> None:
    model = filled(nn.Sequential(nn.Linear(3, 3)))
    model[0].register_module("idle", nn.Linear(2, 2))
    with pytest.warns(UserWarning, match=r"no input Gram matrix for '0.idle': never run"):
        assert input_grams(model, [numbers(4, 3)]).names == ("0.weight",)
    with pytest.raises(BadParameter, match=r"'0.idle' never ran on these batches"):
        input_grams(model, [numbers(4, 3)], modules="0*")


def test_a_computed_weight_is_refused() -> None:
    model = nn.utils.parametrizations.orthogonal(nn.Linear(3, 3))
    with pytest.raises(BadParameter, match="is computed from other tensors"):
        input_grams(model, [numbers(4, 3)])


def test_nan_names_module_and_batch() -> None:
    with pytest.raises(NonFinite, match="the input of '4' holds NaN or Inf in batch 1"):
        input_grams(mlp(), [numbers(5, 4), torch.full((5, 4), float("nan"))], modules="4")


def test_activations_are_the_outputs() -> None:
    model, batches = mlp(), data(batch=4)
    found = activations(model, batches, modules="?", first=2)
    model.eval()
    x = torch.cat([x for x, _ in batches[:2]])
    for i, name in enumerate(found):
        assert_close(found[name], model[: i + 1](x).detach())
    assert found.names == ("0", "1", "2", "3", "4")


def test_activations_that_are_not_one_tensor() -> None:
    layer = nn.Linear(3, 3)
    with pytest.raises(BadParameter, match="module '0' runs more than once a batch"):
        activations(nn.Sequential(layer, layer), [numbers(4, 3)], modules="0")
    with pytest.raises(BadParameter, match=r"module '' puts out different shapes, \[\(2, 5, 4\), \(2, 6, 4\)\]; pad"):
        activations(nn.Linear(3, 4), [numbers(2, 5, 3), numbers(2, 6, 3)], modules="")
    with pytest.raises(BadParameter, match="the loader gave no batch"):
        activations(mlp(), [], modules="0")
    with pytest.raises(NonFinite, match="the output of '0' holds NaN or Inf in batch 0"):
        activations(mlp(), [torch.full((5, 4), float("inf"))], modules="0")
