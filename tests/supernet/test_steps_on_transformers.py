"""Steps on models whose inputs are a dict and whose outputs are no tensor."""

import pytest
import torch

from loomweight.supernet import AlphaDivergence, Sandwich, SubnetOptimizer, Uniform, elastic

transformers = pytest.importorskip("transformers")


def test_a_sandwich_learns_on_a_language_model():
    torch.manual_seed(0)
    config = transformers.GPT2Config(vocab_size=17, n_positions=8, n_embd=16, n_layer=2, n_head=2)
    tokens = torch.arange(12).reshape(2, 6)
    example = {"input_ids": tokens, "use_cache": False}
    net = elastic(
        transformers.GPT2LMHeadModel(config), "depth transformer.h : 1 2\nwidth transformer.h.*.mlp.c_fc : 16 64", example, outputs=lambda o: o.logits
    )

    def loss(out, labels):
        return torch.nn.functional.cross_entropy(out.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())

    step = Sandwich(loss=loss, sampler=Uniform(), soft=lambda a, b: AlphaDivergence()(a.logits, b.logits))
    optimizer = SubnetOptimizer(net, torch.optim.AdamW(net.parameters(), lr=1e-2))
    net.eval()
    before = [float(loss(net.select(values)(**example), tokens).detach()) for values in (net.max(), net.min())]
    net.train()
    for _ in range(12):
        optimizer.zero_grad()
        step(net, example, tokens)
        optimizer.step()
    net.eval()
    after = [float(loss(net.select(values)(**example), tokens).detach()) for values in (net.max(), net.min())]
    assert all(last < 0.75 * first for last, first in zip(after, before, strict=True))


@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "LlamaForCausalLM"])
def test_only_the_largest_subnet_drops_out_in_attention(name):
    torch.manual_seed(0)
    if name.startswith("GPT2"):
        rates = {"attn_pdrop": 0.9, "resid_pdrop": 0.9, "embd_pdrop": 0.9}
        config, space = transformers.GPT2Config(vocab_size=17, n_positions=8, n_embd=16, n_layer=2, n_head=2, **rates), "depth transformer.h : 1 2"
    else:
        sizes = {"vocab_size": 17, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        config, space = transformers.LlamaConfig(**sizes, attention_dropout=0.9), "depth model.layers : 1 2"
    example = {"input_ids": torch.arange(12).reshape(2, 6), "use_cache": False}
    net = elastic(getattr(transformers, name)(config), space, example, outputs=lambda o: o.logits).train()
    seen: list = []

    def watch(out, _targets):
        seen.append(out.logits.detach())
        return out.logits.square().mean()

    Sandwich(loss=watch, sampler=Uniform(), soft=None, subnets=1)(net, example, None)
    net.eval()
    torch.testing.assert_close(seen[-1], net.select(net.min())(**example).logits, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(seen[0], net.select(net.max())(**example).logits, atol=1e-3)
