"""Folded norms keep the function, and are plain afterwards."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from loomweight.edits import FoldNorms, fold_norms
from loomweight.edits.fold_norm import GainFold
from loomweight.errors import BadParameter, UnknownName
from loomweight.weights import Weights

from .relu_nets import Body, drawn


class RootMeanSquare(nn.Module):
    """As in Transformers: a product with a stored vector."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


def two_readers() -> nn.Module:
    return Body(lambda m, x: m.up(m.norm(x)) * m.gate(m.norm(x)).relu(), norm=RootMeanSquare(4), up=nn.Linear(4, 3), gate=nn.Linear(4, 3))


def shared_reading() -> nn.Module:
    def run(m, x):
        h = m.norm(x)
        return m.up(h) * m.gate(h).relu()

    return Body(run, norm=nn.LayerNorm(4), up=nn.Linear(4, 3), gate=nn.Linear(4, 3, bias=False))


def chain(*modules: nn.Module):
    return lambda: nn.Sequential(*modules)


#: name -> (network, input shape, norms that are folded)
FOLDS = {
    "conv and batch norm": (chain(nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 2)), (2, 2, 5, 5), 1),
    "conv without a bias": (chain(nn.Conv2d(2, 3, 2, bias=False), nn.BatchNorm2d(3), nn.ReLU()), (2, 2, 5, 5), 1),
    "grouped conv": (chain(nn.Conv1d(4, 6, 2, groups=2), nn.BatchNorm1d(6)), (2, 4, 5), 1),
    "transposed conv": (chain(nn.ConvTranspose2d(2, 3, 2), nn.BatchNorm2d(3)), (2, 2, 3, 3), 1),
    "linear and a norm without weights": (chain(nn.Linear(3, 4), nn.BatchNorm1d(4, affine=False)), (3, 3), 1),
    "norm, linear, norm": (chain(nn.LayerNorm(3), nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)), (3, 3), 2),
    "layer norm without a bias": (chain(nn.LayerNorm(3, bias=False), nn.Linear(3, 4, bias=False)), (3, 3), 1),
    "rms norm": (chain(nn.RMSNorm(3), nn.Linear(3, 4, bias=False)), (2, 3, 3), 1),
    "two readers, one without a bias": (shared_reading, (3, 4), 1),
    "a transformer's block": (lambda: nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, norm_first=True), (2, 4, 8), 2),
}

#: nothing may be folded here
LEFT = {
    "a norm first": (chain(nn.BatchNorm1d(3), nn.ReLU()), (2, 3)),
    "read by a curve": (chain(nn.LayerNorm(3), nn.ReLU(), nn.Linear(3, 2)), (2, 3)),
    "a layer that feeds two": (lambda: Body(lambda m, x: m.n(m.a(x)) + (h := m.a(x)) + m.n(h), a=nn.Linear(3, 3), n=nn.BatchNorm1d(3)), (2, 3)),
    "used twice": (two_readers, (2, 4)),
    "no place for the mean": (chain(nn.Conv1d(2, 3, 1, bias=False), nn.BatchNorm1d(3, affine=False)), (2, 2, 4)),
    "linear over positions": (chain(nn.Linear(3, 4), nn.BatchNorm1d(5)), (2, 5, 3)),
}


def folded(make, shape: tuple[int, ...], seed: int = 0):
    """(outputs before, outputs after, what was folded, the new set)"""
    model = drawn(make(), seed)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    edit = fold_norms(model, x)
    weights = edit(Weights.of(model.state_dict()))
    return model(x), torch.func.functional_call(model, dict(weights), (x,)), edit, weights


@pytest.mark.parametrize("name", FOLDS)
def test_the_function_stays_and_the_norms_are_plain(name: str) -> None:
    make, shape, count = FOLDS[name]
    before, after, edit, weights = folded(make, shape)
    assert len(edit.folds) == count
    torch.testing.assert_close(after, before, rtol=1e-9, atol=1e-9)
    for fold in edit.folds:
        if fold.gain:
            assert (weights[fold.gain] == 1).all()
    again = edit(weights)
    for key, tensor in weights.items():
        torch.testing.assert_close(again[key], tensor, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", LEFT)
def test_what_cannot_be_folded_is_left(name: str) -> None:
    before, after, edit, _ = folded(*LEFT[name])
    assert edit.folds == () and torch.equal(before, after)


@settings(max_examples=10)
@given(seed=st.integers(0, 2**31), width=st.integers(1, 5), bias=st.booleans())
def test_any_numbers(seed: int, width: int, bias: bool) -> None:
    before, after, edit, _ = folded(chain(nn.LayerNorm(3), nn.Linear(3, width, bias=bias), nn.BatchNorm1d(width)), (4, 3), seed)
    assert len(edit.folds) == 2
    torch.testing.assert_close(after, before, rtol=1e-7, atol=1e-7)


def test_llama_and_gpt2() -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 11, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "use_cache": False}
    llama = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, tie_word_embeddings=False))
    gpt2 = transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=11, n_positions=9, n_embd=8, n_layer=2, n_head=2, use_cache=False))
    ids = torch.arange(6).reshape(1, 6)
    for model, count in ((llama, 5), (gpt2, 4)):  # gpt2's last norm is read by the output layer, which is the embedding too
        model = drawn(model)
        edit = fold_norms(model, {"input_ids": ids})
        assert len(edit.folds) == count
        weights = edit(Weights.of(model.state_dict()))
        state = {name: tensor for name, tensor in weights.items() if name not in weights.ties}
        with torch.no_grad():
            after = torch.func.functional_call(model, state, kwargs={"input_ids": ids}).logits
            torch.testing.assert_close(after, model(ids).logits, rtol=1e-6, atol=1e-6)


def test_bad_calls() -> None:
    edit = FoldNorms((GainFold("g", "s", (("w", 1, None),)),))
    whole = {"g": torch.tensor([0.0, 1.0]), "s": torch.tensor([1.0, 1.0]), "w": torch.ones(1, 2)}
    with pytest.raises(BadParameter, match="'g' is 0 where 's' is not"):
        edit(Weights.of(whole))["s"]
    with pytest.raises(UnknownName, match="no tensor named 'w'"):
        edit(Weights.of({"g": whole["g"], "s": whole["s"]}))["g"]
    with pytest.raises(BadParameter, match="not tensor by tensor"):
        edit.bind("g", Weights.of(whole).spec["g"], Weights.of(whole).open("g"))
