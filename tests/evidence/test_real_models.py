"""Real architectures of Transformers, tiny, from their configs; batches as tokenizers make them."""

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from loomweight.evidence import NEXT_TOKEN, fisher, input_axes, input_grams

transformers = pytest.importorskip("transformers")


def ids(rows: int, length: int, words: int = 50) -> Tensor:
    return torch.randint(3, words, (rows, length), generator=torch.Generator().manual_seed(0))


def bert() -> Any:
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, max_position_embeddings=20, num_labels=3
    )
    torch.manual_seed(0)
    return transformers.BertForSequenceClassification(config)


def gpt2() -> Any:
    config = transformers.GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=20)
    torch.manual_seed(0)
    return transformers.GPT2LMHeadModel(config)


def llama() -> Any:
    config = transformers.LlamaConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=24, tie_word_embeddings=True
    )
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(config)


def padded(rows: int = 4, length: int = 6, pad: int = 3) -> transformers.BatchEncoding:
    mask = torch.ones(rows, length + pad, dtype=torch.long)
    mask[:, length:] = 0
    return transformers.BatchEncoding({"input_ids": nn.functional.pad(ids(rows, length), (0, pad)), "attention_mask": mask})


def one_by_one(model: nn.Module, score: Any, rows: int) -> dict[str, Tensor]:
    """Another formula: plain autograd on every example."""
    model.eval()
    total = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters()}
    for i in range(rows):
        model.zero_grad()
        score(i).backward()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                total[name] += parameter.grad**2 / rows
    model.zero_grad()
    return total


def agree(found: Any, truth: dict[str, Tensor]) -> None:
    assert set(truth) <= set(found.names)
    for name, value in truth.items():
        assert_close(found[name], value, rtol=1e-3, atol=1e-8, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.filterwarnings("ignore:this model does not vectorize")
def test_a_bert_classifier() -> None:
    model, batch, labels = bert(), padded(), torch.tensor([0, 2, 1, 1])
    batch["labels"] = labels

    def score(i: int) -> Tensor:
        logits = model(input_ids=batch["input_ids"][i : i + 1], attention_mask=batch["attention_mask"][i : i + 1]).logits
        return logits.log_softmax(-1)[0, labels[i]]

    agree(fisher(model, [batch], labels="empirical"), one_by_one(model, score, 4))


@pytest.mark.filterwarnings("ignore:this model does not vectorize")
@pytest.mark.parametrize("make", [gpt2, llama])
def test_language_models_with_tied_embeddings(make: Any) -> None:
    model, batch = make(), padded()

    def score(i: int) -> Tensor:
        row = batch["input_ids"][i : i + 1, :6]  # without the padding
        log_p = model(input_ids=row).logits[0, :-1].log_softmax(-1)
        return log_p[torch.arange(5), row[0, 1:]].sum()

    found = fisher(model, [batch], task=NEXT_TOKEN, labels="empirical")
    agree(found, one_by_one(model, score, 4))
    assert "lm_head.weight" in found.ties


def test_gpt2_layers_are_met_on_their_own_side() -> None:
    """X W + b is what every covered layer computes, with X and W on the side that `input_axes` tells."""
    model = gpt2()
    axes = input_axes(model)
    assert axes["transformer.h.0.attn.c_attn.weight"] == 0
    assert axes["lm_head.weight"] == 1
    grams = input_grams(model, [padded()], modules="transformer.h.*_*")
    assert {axes[name] for name in grams} == {0}
    assert len(grams) == 2 * 4
    for name, matrix in grams.items():
        assert len(matrix) == model.state_dict()[name].shape[axes[name]]
    assert "24 rows" in grams.label  # 4 sentences of 6 words; padding is none


def test_grams_do_not_depend_on_padding() -> None:
    """BERT looks at the unmasked words alone, so every layer's inputs there are the same with and without padding."""
    model = bert()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        short, long = (input_grams(model, [padded(pad=pad)], modules="*.attention.self.*") for pad in (0, 3))
    for name in short:
        assert_close(short[name], long[name], rtol=1e-4, atol=1e-4)
