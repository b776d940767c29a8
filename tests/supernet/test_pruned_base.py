"""Adapters of elastic rank on a pruned base: zeros stay through training, export and merging."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from loomweight.derive import LowRank, derivations, fold, from_peft
from loomweight.errors import BadParameter
from loomweight.supernet import SubnetOptimizer, elastic

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft 0.21 asks transformers 5.23 for it
IDS = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
NAMES = ["q_proj", "up_proj"]


def pruned() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=23, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2)
    base = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, weight in base.named_parameters():
            if any(f"{end}.weight" in name for end in NAMES):
                weight[weight.abs() < weight.abs().median()] = 0
    return base


def adapted(**options: object) -> nn.Module:
    settings: dict = {"r": 4, "lora_alpha": 8, "target_modules": NAMES, "init_lora_weights": False} | options
    return get_peft_model(pruned(), LoraConfig(**settings))


def zeros(model: nn.Module) -> dict[str, Tensor]:
    return {name: weight == 0 for name, weight in model.state_dict().items() if any(f"{end}.weight" in name for end in NAMES)}


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def test_the_sum_is_that_of_peft() -> None:
    expected = logits(adapted())
    base = from_peft(adapted())
    torch.testing.assert_close(logits(base), expected)
    assert len(derivations(base)) == 2
    assert {name.rpartition(".")[2] for name, p in base.named_parameters() if p.requires_grad and "derived" in name} == {"down", "up"}
    merged = adapted().merge_and_unload()  # type: ignore[operator]
    for name, weight in fold(base).state_dict().items():
        torch.testing.assert_close(weight, merged.state_dict()[name])


def test_transposed_weights_too() -> None:
    torch.manual_seed(0)
    base = GPT2LMHeadModel(GPT2Config(vocab_size=23, n_embd=16, n_layer=1, n_head=2, n_positions=8))
    model = get_peft_model(base, LoraConfig(r=3, target_modules=["c_fc"], init_lora_weights=False, fan_in_fan_out=True)).eval()
    expected = logits(model)
    torch.testing.assert_close(logits(from_peft(model)), expected)


def test_a_pruned_base_stays_pruned_through_training_and_export() -> None:
    before = zeros(pruned())
    net = elastic(from_peft(adapted(), sparse=True), "rank * : 1 2 4", {"input_ids": IDS}, outputs=lambda out: out.logits)
    optimizer = SubnetOptimizer(net, torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=0.01, weight_decay=0.1))
    losses = []
    for step in range(6):
        optimizer.zero_grad()
        net.select(net.sample(step))
        loss = nn.functional.cross_entropy(net(input_ids=IDS[:, :-1]).logits.flatten(0, 1), IDS[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    base = pruned().state_dict()
    for values in (net.min(), net.max()):
        plain = net.export(values)
        assert type(plain) is LlamaForCausalLM
        after = zeros(plain)
        assert set(after) == set(before)
        assert all(torch.equal(after[name], before[name]) for name in before)
        assert all((plain.state_dict()[name] != base[name]).any() for name in before)


def test_that_without_the_mask_zeros_are_lost() -> None:
    before, after = zeros(pruned()), zeros(fold(from_peft(adapted())))
    assert all((before[name] & ~after[name]).any() for name in before)


def test_no_gradient_goes_where_the_base_is_pruned() -> None:
    weight = nn.Parameter(torch.tensor([[0.0, 2.0], [3.0, 0.0]]))
    low = LowRank(weight, 2, 0.5, sparse=True)
    with torch.no_grad():
        low.down.copy_(torch.eye(2))
        low.up.copy_(torch.tensor([[5.0, 1.0], [2.0, 7.0]]))
    assert low().tolist() == [[0.0, 2.5], [4.0, 0.0]]
    (gradient,) = torch.autograd.grad(low().sum(), low.up)
    assert gradient.tolist() == [[0.0, 0.5], [0.5, 0.0]]


def test_what_a_sum_cannot_stand_for_is_refused() -> None:
    with pytest.raises(BadParameter, match="has dropout in front of its adapter"):
        from_peft(adapted(lora_dropout=0.1))
    with pytest.raises(BadParameter, match="has a magnitude or a bias"):
        from_peft(adapted(use_dora=True))
    with pytest.raises(BadParameter, match="LlamaForCausalLM is no model of PEFT"):
        from_peft(pruned())
    with pytest.raises(BadParameter, match="adapts Embedding, which is no linear layer"):
        from_peft(adapted(target_modules=["embed_tokens"]))
    two = adapted()
    two.add_adapter("other", LoraConfig(r=2, target_modules=NAMES))  # type: ignore[operator]
    with pytest.raises(BadParameter, match="has 2 adapters"):
        from_peft(two)
