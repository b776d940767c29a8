"""experts: lists of experts, and Transformers' tensors of all experts."""

import pytest
import torch
from torch import Tensor, nn
from transformers import MixtralConfig, MixtralForCausalLM

from loomweight.errors import BadParameter, UnknownName
from loomweight.supernet import SubnetOptimizer, elastic

IDS = torch.tensor([[1, 2, 3, 4]])
X = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))


class Mixture(nn.Module):
    """Every token goes to its best experts."""

    def __init__(self, width: int = 5, count: int = 4, top_k: int = 2) -> None:
        super().__init__()
        self.num_experts, self.top_k = count, top_k
        self.gate = nn.Linear(width, count)
        self.experts = nn.ModuleList(nn.Sequential(nn.Linear(width, 6), nn.ReLU(), nn.Linear(6, width)) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        scores, chosen = self.gate(x).softmax(-1).topk(self.top_k, -1)
        out = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            token, place = (chosen == number).nonzero(as_tuple=True)
            out = out.index_add(0, token, scores[token, place, None] * expert(x[token]))
        return out


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inward, self.moe, self.out = nn.Linear(5, 5), Mixture(), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inward(x)
        return self.out(x + self.moe(x))


def model() -> Model:
    torch.manual_seed(0)
    return Model()


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_fewer_experts_are_a_smaller_mixture(count: int) -> None:
    net = elastic(model(), "experts moe : 1 2 3 4", X)
    by_hand, whole = Model(), model()
    by_hand.moe = Mixture(count=count, top_k=min(2, count))
    state = {name: tensor[:count] if name.startswith("moe.gate") else tensor for name, tensor in whole.state_dict().items()}
    by_hand.load_state_dict({name: tensor for name, tensor in state.items() if not name.startswith("moe.experts") or int(name.split(".")[2]) < count})
    plain = net.export({"experts moe": count})
    torch.testing.assert_close(plain(X), by_hand(X))
    assert {name: tensor.shape for name, tensor in plain.state_dict().items()} == {name: tensor.shape for name, tensor in by_hand.state_dict().items()}
    assert (plain.moe.num_experts, plain.moe.top_k, len(plain.moe.experts)) == (count, min(2, count), count)


def test_experts_that_are_not_used_rest() -> None:
    net = elastic(model(), "experts moe : 2 4", X)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    optimizer = SubnetOptimizer(net, torch.optim.AdamW(net.parameters(), lr=0.1, weight_decay=0.1))
    net.select(net.min())(X).square().sum().backward()
    optimizer.step()
    after = net.state_dict()
    assert torch.equal(after["moe.gate.weight"][2:], before["moe.gate.weight"][2:])
    assert (after["moe.gate.weight"][:2] != before["moe.gate.weight"][:2]).any()
    assert all(torch.equal(after[name], before[name]) for name in before if name.startswith(("moe.experts.2", "moe.experts.3")))


def mixtral(experts: int = 4, intermediate: int = 24, chosen: int = 2) -> MixtralForCausalLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": intermediate}
    return MixtralForCausalLM(MixtralConfig(vocab_size=23, num_local_experts=experts, num_experts_per_tok=chosen, **sizes)).eval()


@pytest.mark.parametrize(("count", "inner"), [(1, 24), (2, 12), (4, 12)])
def test_a_mixtral_of_fewer_and_narrower_experts(count: int, inner: int) -> None:
    space = "experts * : 1 2 4 tied\nwidth *.mlp.experts : 12 24 tied"
    net = elastic(mixtral(), space, {"input_ids": IDS}, outputs=lambda out: out.logits)
    by_hand, state = mixtral(count, inner, min(2, count)), mixtral().state_dict()
    for name, tensor in by_hand.state_dict().items():
        whole = state[name]
        if name.endswith("gate_up_proj"):
            whole = whole.unflatten(1, (2, 24))[:count, :, :inner].flatten(1, 2)
        elif name.endswith("experts.down_proj"):
            whole = whole[:count, :, :inner]
        elif name.endswith("gate.weight"):
            whole = whole[:count]
        tensor.copy_(whole)
    plain = net.export({"experts *": count, "width *.mlp.experts": inner})
    torch.testing.assert_close(plain(input_ids=IDS).logits, by_hand(input_ids=IDS).logits)


def test_what_is_no_mixture_is_told() -> None:
    with pytest.raises(UnknownName, match="names no mixture of experts"):
        elastic(nn.Sequential(nn.Linear(5, 5)), "experts * : 1 2", X)
    with pytest.raises(BadParameter, match="moe has 4 units"):
        elastic(model(), "experts moe : 2 8", X)
