"""bits: weights rounded on the way, trained straight through."""

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from loomweight.derive import Quantised
from loomweight.edits import Quantise
from loomweight.errors import BadParameter
from loomweight.supernet import SubnetOptimizer, elastic

X = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.mark.parametrize("bits", [2, 3, 8, 16])
def test_levels_are_those_of_the_edit_of_whole_models(bits: int) -> None:
    weight = nn.Parameter(torch.randn(4, 7, generator=torch.Generator().manual_seed(bits)))
    assert torch.equal(Quantised(weight, bits)(), Quantise(bits).apply(weight.detach()))


def test_rounding_is_of_the_slice_in_use() -> None:
    net = elastic(model(), "width 0 : 4 8\nbits * : 3 32", X)
    for values in net.space.enumerate():
        n, plain, whole = values["width 0"], net.export(values), model()
        first, second = whole[0].weight[:n].detach(), whole[2].weight[:, :n].detach()
        first = Quantise(3).apply(first.contiguous()) if values["bits 0"] == 3 else first
        second = Quantise(3).apply(second.contiguous()) if values["bits 2"] == 3 else second
        assert torch.equal(plain[0].weight, first)
        assert torch.equal(plain[2].weight, second)
        assert all(isinstance(tensor, nn.Parameter) and tensor.requires_grad for tensor in plain.parameters())


def test_the_gradient_is_that_of_the_rounded_weights_and_reaches_the_stored_ones() -> None:
    net = elastic(model(), "bits * : 2 32", X)
    plain = net.export(net.min())
    plain(X).square().sum().backward()
    net.select(net.min())(X).square().sum().backward()
    for name, tensor in net.named_parameters():
        torch.testing.assert_close(tensor.grad, plain.get_parameter(name).grad)


def test_training_goes_through_rounding_and_rests_where_width_does_not_reach() -> None:
    net = elastic(model(), "width 0 : 4 8\nbits 0 : 4 32", X)
    before = net.state_dict()["0.weight"].clone()
    optimizer = SubnetOptimizer(net, torch.optim.AdamW(net.parameters(), lr=0.05, weight_decay=0.1))
    net.select({"width 0": 4, "bits 0": 4})
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = (net(X) - 1).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    after = net.state_dict()["0.weight"]
    assert losses[-1] < 0.5 * losses[0]
    assert torch.equal(after[4:], before[4:])
    assert (after[:4] != before[:4]).all()


def test_bits_are_paid_for() -> None:
    net = elastic(model(), "bits 0 : 4 32", X)
    assert net.cost(net.max()).nbytes == 4 * (48 + 8 + 24 + 3)
    assert net.cost(net.min()).nbytes == 48 // 2 + 4 * 8 + 4 * (8 + 24 + 3)


@pytest.mark.filterwarnings("ignore:the config of the exported model cannot say")
def test_tied_weights_round_where_the_line_says_and_stay_one_where_both_do() -> None:
    ids = torch.tensor([[1, 2, 3]])

    def gpt2() -> GPT2LMHeadModel:
        torch.manual_seed(0)
        return GPT2LMHeadModel(GPT2Config(vocab_size=11, n_positions=8, n_embd=8, n_layer=1, n_head=2))

    one = elastic(gpt2(), "bits lm_head : 3 32", {"input_ids": ids}, outputs=lambda out: out.logits)
    plain = one.export(one.min())
    assert torch.equal(plain.lm_head.weight, Quantise(3).apply(plain.transformer.wte.weight.detach()))
    both = elastic(gpt2(), "bits lm_head : 3 32\nbits transformer.wte : 3 32", {"input_ids": ids}, outputs=lambda out: out.logits)
    assert both.difference == 0
    fused = elastic(gpt2(), "bits *.c_attn : 2 32\nheads * : 1 2", {"input_ids": ids}, outputs=lambda out: out.logits)
    exported = fused.export(fused.min())
    columns = gpt2().transformer.h[0].attn.c_attn.weight.detach().unflatten(1, (3, 2, 4))[:, :, :1].flatten(1)
    assert torch.equal(exported.transformer.h[0].attn.c_attn.weight, Quantise(2).apply(columns.T.contiguous()).T)


@pytest.mark.parametrize("bits", ["1 32", "17 32", "4 31", "four 32", "2.5 32"])
def test_bad_bits(bits: str) -> None:
    with pytest.raises(BadParameter, match="bits are whole numbers from 2 to 16, or 32"):
        elastic(model(), f"bits * : {bits}", X)
