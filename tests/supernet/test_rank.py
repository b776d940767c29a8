"""rank: adapters of PEFT and of `derive`."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from loomweight.derive import LowRank, derive
from loomweight.errors import BadParameter, UnknownName
from loomweight.supernet import SubnetOptimizer, elastic

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft 0.21 asks transformers 5.23 for it

IDS = torch.tensor([[1, 2, 3, 4]])


def adapted() -> nn.Module:
    torch.manual_seed(0)
    base = LlamaForCausalLM(LlamaConfig(vocab_size=23, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2))
    return get_peft_model(base, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "up_proj"], init_lora_weights=False))


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def test_a_rank_of_peft_is_its_first_directions() -> None:
    net = elastic(adapted(), "rank *.q_proj : 1 2 4\nrank *.up_proj : 2 4", {"input_ids": IDS}, outputs=lambda out: out.logits)
    for seed in range(6):
        values, by_hand = net.sample(seed), adapted()
        for name, module in by_hand.named_modules():
            if f"rank {name}.default" in values:
                rank = values[f"rank {name}.default"]
                with torch.no_grad():
                    module.lora_A["default"].weight[rank:] = 0
                    module.lora_B["default"].weight[:, rank:] = 0
        torch.testing.assert_close(logits(net.select(values)), logits(by_hand))
        plain = net.export(values)
        for name, module in plain.named_modules():
            if f"rank {name}.default" in values:
                rank = values[f"rank {name}.default"]
                assert module.r == {"default": rank}
                assert module.lora_A["default"].weight.shape[0] == rank
                assert module.scaling == {"default": 2.0}


def test_the_base_stays_frozen_and_ranks_share_their_directions() -> None:
    net = elastic(adapted(), "rank * : 2 4 tied", {"input_ids": IDS}, outputs=lambda out: out.logits)
    optimizer = SubnetOptimizer(net, torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=0.1))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.select(net.min())(input_ids=IDS).logits.square().sum().backward()
    optimizer.step()
    after = net.state_dict()
    for name, tensor in before.items():
        if "lora_A" in name:
            assert (after[name][:2] != tensor[:2]).any()
            assert torch.equal(after[name][2:], tensor[2:])
        elif "lora_B" not in name:
            assert torch.equal(after[name], tensor)


def test_a_rank_of_derive_is_its_first_directions() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    low = derive(model, "0.weight", LowRank(model[0].weight, rank=4))
    with torch.no_grad():
        low.up.normal_(generator=torch.Generator().manual_seed(0))
    weight, down, up = (tensor.detach().clone() for tensor in (low.weight, low.down, low.up))
    net = elastic(model, "rank 0 : 1 3 4", torch.zeros(2, 6))
    for rank in (1, 3, 4):
        torch.testing.assert_close(net.export({"rank 0.weight": rank})[0].weight, weight + up[:, :rank] @ down[:rank])


@pytest.mark.parametrize("rank", [(2, 2), (1, 4)])
def test_files_bring_adapters_back(rank: tuple[int, int], tmp_path: Path) -> None:
    net = elastic(adapted(), "rank *.q_proj : 1 2 4 tied\nrank *.up_proj : 2 4 tied", {"input_ids": IDS}, outputs=lambda out: out.logits)
    plain = net.export({"rank *.q_proj": rank[0], "rank *.up_proj": rank[1]})
    plain.save_pretrained(tmp_path)
    back = PeftModel.from_pretrained(adapted().unload(), tmp_path)
    torch.testing.assert_close(logits(back), logits(plain))


def test_widths_leave_ranks_to_rank() -> None:
    net = elastic(adapted(), "rank *.up_proj : 2 4\nwidth *.mlp : 12 24", {"input_ids": IDS}, outputs=lambda out: out.logits)
    assert sorted(values for name, values in ((name, d.options) for name, d in net.space.dimensions.items()) if name.startswith("width")) == [
        (12, 24),
        (12, 24),
    ]
    net.export(net.min())


def test_bad_ranks() -> None:
    with pytest.raises(UnknownName, match=r"names no low-rank adapter of this model; there are: 'base_model.*q_proj.default'"):
        elastic(adapted(), "rank *.k_proj : 2 4", {"input_ids": IDS}, outputs=lambda out: out.logits)
    with pytest.raises(BadParameter, match="has 4 units; its values lie between 1 and 4"):
        elastic(adapted(), "rank * : 4 8", {"input_ids": IDS}, outputs=lambda out: out.logits)
