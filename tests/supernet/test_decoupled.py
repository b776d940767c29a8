"""Adapters for each number of bits: the formula, no interference between bits, and what merging keeps."""

import pytest
import torch
from torch import nn

from loomweight.edits import Quantise
from loomweight.errors import BadParameter, UnknownName
from loomweight.supernet import Adapters, Elastic, SubnetOptimizer, decoupled_adapters, elastic, grouped

X = torch.randn(16, 6, generator=torch.Generator().manual_seed(1))


def net(space: str = "bits * : 2 4 32", pruned: bool = False) -> Elastic:
    torch.manual_seed(0)
    first, second = nn.Linear(6, 8), nn.Linear(8, 3)
    if pruned:
        with torch.no_grad():
            for layer in (first, second):
                layer.weight[layer.weight.abs() < layer.weight.abs().median()] = 0
    return elastic(nn.Sequential(first, nn.ReLU(), second), space, X)


def shaken(of: Elastic) -> Elastic:
    """Adapters with values, as after a training."""
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, tensor in of.state_dict().items():
            if name.endswith(".up"):
                tensor.copy_(torch.randn(tensor.shape, generator=draw) / 4)
    return of


def test_at_first_nothing_changes() -> None:
    plain, adapted = net(), net()
    assert decoupled_adapters(adapted) == ["0", "2"]
    for values in plain.space.enumerate():
        assert torch.equal(plain.select(values)(X), adapted.select(values)(X))


@pytest.mark.parametrize("bits", [2, 4, 32])
def test_the_weight_is_the_rounded_one_and_its_own_adapter(bits: int) -> None:
    of = net()
    decoupled_adapters(of, Adapters(rank=2, scale=0.5))
    state = shaken(of).state_dict()
    weight = Quantise(bits).apply(state["0.weight"]) if bits < 32 else state["0.weight"]
    expected = weight + 0.5 * state[f"adapters.{bits}.0.weight.up"] @ state[f"adapters.{bits}.0.weight.down"]
    torch.testing.assert_close(of.export({"bits 0": bits, "bits 2": 32}).state_dict()["0.weight"], expected)


def test_training_some_bits_moves_nothing_of_the_others() -> None:
    """The mechanism: with shared weights, training 2 bits changes what 4 bits compute; with adapters apart, it does not."""

    def changed(apart: bool) -> float:
        of = net("bits 0 : 2 4\nbits 2 : 2 4")
        if apart:
            decoupled_adapters(of, Adapters(rank=4))
            for name, parameter in of.named_parameters():
                parameter.requires_grad_("adapters" in name)
        high, low = of.max(), of.min()
        before = of.select(high)(X).detach()
        optimizer = SubnetOptimizer(of, torch.optim.AdamW([p for p in of.parameters() if p.requires_grad], lr=0.05))
        losses = []
        for _ in range(10):
            optimizer.zero_grad()
            loss = (of.select(low)(X) - 1).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0]
        return (of.select(high)(X) - before).abs().max().item()

    assert changed(True) == 0 < 0.01 < changed(False)


def test_a_pruned_base_stays_pruned() -> None:
    of = net(pruned=True)
    decoupled_adapters(of, Adapters(sparse=True))
    zeros = {name: tensor == 0 for name, tensor in shaken(of).state_dict().items() if name in ("0.weight", "2.weight")}
    for values in of.space.enumerate():
        exported = of.export(values).state_dict()
        assert all((exported[name][zero] == 0).all() for name, zero in zeros.items())
    dense = net(pruned=True)
    decoupled_adapters(dense)
    exported = shaken(dense).export(dense.max()).state_dict()
    assert all((exported[name][zero] != 0).any() for name, zero in zeros.items())


@pytest.mark.parametrize("bits", [2, 4])
def test_merged_adapters_have_the_levels_of_the_weight(bits: int) -> None:
    of = net(pruned=True)
    decoupled_adapters(of, Adapters(sparse=True, merged=True))
    before = shaken(of).state_dict()["0.weight"]
    after = of.export({"bits 0": bits, "bits 2": 32}).state_dict()["0.weight"]
    levels = after / (before.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1))
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-5)
    assert levels.abs().max() <= 2 ** (bits - 1) - 1 + 1e-5
    assert (after[before == 0] == 0).all() and not torch.equal(after, Quantise(bits).apply(before))


def test_gradients_pass_straight_through_merged_rounding() -> None:
    of = net()
    decoupled_adapters(of, Adapters(merged=True))
    of.select(of.min())(X).square().sum().backward()
    gradients = {name: p.grad for name, p in of.named_parameters() if "adapters.2" in name and name.endswith("up")}
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients.values())


def test_widths_cut_adapters_as_they_cut_weights() -> None:
    of = net("width 0 : 4 8\nbits * : 2 4")
    decoupled_adapters(of, Adapters(rank=2))
    state = shaken(of).state_dict()
    small = of.export({"width 0": 4, "bits 0": 2, "bits 2": 4}).state_dict()
    for name, rows, columns, bits in (("0.weight", 4, 6, 2), ("2.weight", 3, 4, 4)):
        up, down = state[f"adapters.{bits}.{name}.up"][:rows], state[f"adapters.{bits}.{name}.down"][:, :columns]
        weight = Quantise(bits).apply(state[name][:rows, :columns].contiguous())
        torch.testing.assert_close(small[name], weight + up @ down)


def test_heads_cut_adapters_inside() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    model = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
    of = elastic(model, "heads * : 1 2\nbits *.out_proj : 4 32\nbits *.linear1 : 4 32", torch.randn(2, 3, 8))
    decoupled_adapters(of, Adapters(rank=2))
    state, values = shaken(of).state_dict(), of.space.canonical({**of.max(), "heads layers.0.self_attn": 1})
    name = "layers.0.self_attn.out_proj.weight"
    expected = state[name] + state[f"adapters.32.{name}.up"] @ state[f"adapters.32.{name}.down"]
    torch.testing.assert_close(of.export(values).state_dict()[name], expected[:, :4])


def test_groups_may_have_rounded_weights() -> None:
    of = net("bits 0 : 2 4")
    copies = grouped(of, 2)
    with torch.no_grad():
        copies.stored(1)["0.weight"].tensor.fill_(3.0)
    assert (of.export({"bits 0": 4}).state_dict()["0.weight"] == 3).all()
    assert (of.export({"bits 0": 2}).state_dict()["0.weight"] != 3).any()


def test_messages() -> None:
    with pytest.raises(UnknownName, match=r"'1' names no layer with a matrix whose bits vary and that has no adapter yet; there are: '0', '2'"):
        decoupled_adapters(net(), where=["1"])
    with pytest.raises(UnknownName, match="there are: none"):
        decoupled_adapters(net("width 0 : 4 8"))
    with pytest.raises(BadParameter, match="rank of at least 1, found 0"):
        decoupled_adapters(net(), Adapters(rank=0))
    of = net()
    decoupled_adapters(of)
    with pytest.raises(UnknownName, match="has no adapter yet; there are: none"):
        decoupled_adapters(of)
