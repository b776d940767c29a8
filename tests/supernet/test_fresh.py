"""A second formula: an exported subnet is a new model of its config, with slices of the weights copied in by hand; files bring it back."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from loomweight.supernet import elastic

from .families import FAMILIES, IDS, Block, logits

State = dict[str, Tensor]


def loaded(model: nn.Module, state: State) -> nn.Module:
    model.load_state_dict(state)
    return model.eval()


@torch.no_grad()
def test_llama() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    family = FAMILIES["llama"]
    lines = "embedding * : 8 16 tied\nheads * : 1 2 tied\nqueries * : 1 2 tied\nwidth *.mlp : 12 24 tied\ndepth model.layers : 1 2 3 spread"
    net = elastic(family.made(), lines, IDS, outputs=logits).eval()
    state = family.made().state_dict()
    for seed in range(4):
        values = net.sample(seed)
        width, inner, layers = values["embedding *"], values["width *.mlp"], values["depth model.layers"]
        groups, queries = values["heads *"], values["queries *"]
        config = LlamaConfig(
            vocab_size=23, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers, head_dim=4,
            num_attention_heads=groups * queries, num_key_value_heads=groups,
        )  # fmt: skip
        kept = {1: [0], 2: [0, 2], 3: [0, 1, 2]}[layers]
        cut: State = {}
        for name in LlamaForCausalLM(config).state_dict():
            parts = name.split(".")
            whole = state[".".join([*parts[:2], str(kept[int(parts[2])]), *parts[3:]]) if parts[1] == "layers" else name]
            if "q_proj" in name:
                whole = whole.view(2, 2, 4, 16)[:groups, :queries].reshape(-1, 16)[:, :width]
            elif "k_proj" in name or "v_proj" in name:
                whole = whole.view(2, 4, 16)[:groups].reshape(-1, 16)[:, :width]
            elif "o_proj" in name:
                whole = whole.view(16, 2, 2, 4)[:width, :groups, :queries].reshape(width, -1)
            elif "down_proj" in name:
                whole = whole[:width, :inner]
            elif "gate_proj" in name or "up_proj" in name:
                whole = whole[:inner, :width]
            else:
                whole = whole[..., :width]
            cut[name] = whole
        fresh = loaded(LlamaForCausalLM(config), cut)
        plain = net.export(values)
        torch.testing.assert_close(plain(**IDS).logits, fresh(**IDS).logits)
        same = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim")
        assert {key: getattr(plain.config, key) for key in same} == {key: getattr(config, key) for key in same}
        assert torch.equal(plain.generate(**IDS, max_new_tokens=4, do_sample=False), fresh.generate(**IDS, max_new_tokens=4, do_sample=False))


@torch.no_grad()
def test_gpt2() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    family = FAMILIES["gpt2"]
    net = elastic(family.made(), "width *.mlp : 24 48 tied\ndepth transformer.h : 1 2\nheads * : 1 3 tied\nembedding * : 4 12 tied", IDS, outputs=logits).eval()
    state = family.made().state_dict()
    for inner, layers, heads, width in ((24, 1, 1, 4), (24, 2, 3, 12), (48, 1, 3, 12)):
        config = GPT2Config(vocab_size=23, n_positions=8, n_embd=width, n_layer=layers, n_head=heads, n_inner=inner)
        cut: State = {}
        for name in GPT2LMHeadModel(config).state_dict():
            whole = state[name]
            if "attn.c_attn" in name:
                whole = (
                    whole.unflatten(-1, (3, 3, 4))[..., :heads, :].flatten(-3)[..., :width, :] if whole.ndim > 1 else whole.view(3, 3, 4)[:, :heads].flatten()
                )
            elif "attn.c_proj.weight" in name:
                whole = whole[: heads * 4, :width]
            elif "c_fc" in name:
                whole = whole[:width, :inner] if whole.ndim > 1 else whole[:inner]
            elif "mlp.c_proj.weight" in name:
                whole = whole[:inner, :width]
            else:
                whole = whole[..., :width]
            cut[name] = whole
        values = {"width *.mlp": inner, "depth transformer.h": layers, "heads *": heads, "embedding *": width}
        plain, fresh = net.export(values), loaded(GPT2LMHeadModel(config), cut)
        torch.testing.assert_close(plain(**IDS).logits, fresh(**IDS).logits)
        assert (plain.config.n_inner, plain.config.n_layer, plain.config.n_head, plain.config.n_embd) == (inner, layers, heads, width)
        assert plain.lm_head.weight is plain.transformer.wte.weight


@pytest.mark.filterwarnings("ignore:this subnet is evaluated with BatchNorm")
@torch.no_grad()
def test_resnet() -> None:
    from .families import ResNet

    family = FAMILIES["resnet"]
    net = elastic(family.made(), "width stem : 4 8\nwidth down : 6 12\nwidth stage1.*.conv1 : 3 6 tied\ndepth stage1 : 2 3", family.example).eval()
    state = family.made().state_dict()
    for first, second, inner, depth in ((4, 6, 3, 2), (8, 6, 3, 3), (4, 12, 6, 2)):
        fresh = ResNet()
        fresh.stem, fresh.norm, fresh.down, fresh.head = (
            nn.Conv2d(3, first, 3, padding=1, bias=False),
            nn.BatchNorm2d(first),
            nn.Conv2d(first, second, 1, stride=2),
            nn.Linear(second, 5),
        )
        fresh.stage1 = nn.Sequential(*(Block(first, inner) for _ in range(depth)))
        fresh.stage2 = nn.Sequential(Block(second, 10), Block(second, 10))
        cut = {name: state[name][tuple(slice(n) for n in tensor.shape)] for name, tensor in fresh.state_dict().items()}
        plain = net.export({"width stem": first, "width down": second, "width stage1.*.conv1": inner, "depth stage1": depth})
        torch.testing.assert_close(plain(family.example), loaded(fresh, cut)(family.example))


#: config has one number for each of these
SAVED: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("embedding * : 8 16\nheads * : 1 2 tied\nwidth *.mlp : 12 24 tied\ndepth model.layers : 2 3 spread", {}),
    "gpt2": ("width *.mlp : 24 48 tied\ndepth transformer.h : 1 2", {}),
    "bert": ("embedding * : 6 12\nwidth bert.pooler : 6 12\nhead_size * : 2 4 tied\nwidth *.intermediate : 8 16 tied\ndepth bert.encoder.layer : 1 2", {}),
    "vit": ("width vit.layers.*.mlp : 8 16 tied\ndepth vit.layers : 1 2", {}),
}


@pytest.mark.parametrize("name", SAVED)
@torch.no_grad()
def test_files_bring_an_exported_model_back(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    net = elastic(family.made(), SAVED[name][0], family.example, outputs=family.outputs).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = net.export(net.min())
    plain.save_pretrained(tmp_path)
    back = type(plain).from_pretrained(tmp_path)
    assert {key: tensor.shape for key, tensor in back.state_dict().items()} == {key: tensor.shape for key, tensor in plain.state_dict().items()}
    torch.testing.assert_close(family.run(back), family.run(plain))
    assert family.made().config.to_dict() == net.model.config.to_dict()


def test_what_one_number_cannot_say_is_told() -> None:
    family = FAMILIES["llama"]
    net = elastic(family.made(), "width *.mlp : 12 24", IDS, outputs=logits)
    with pytest.warns(UserWarning, match=r"cannot say that intermediate_size differs between layers \(12, 24\): `from_pretrained` would build another"):
        net.export({**net.max(), net.space.names[0]: 12})
    bert = FAMILIES["bert"]
    net = elastic(bert.made(), "heads * : 1 3 tied", IDS, outputs=logits)
    with pytest.warns(UserWarning, match="1 heads of size 4 do not fill the width 12"):
        net.export(net.min())
    net = elastic(bert.made(), "embedding * : 6 12\nhead_size * : 2 4 tied", IDS, outputs=logits)
    with pytest.warns(UserWarning, match=r"bert.pooler.dense.bias is \(12,\), not \(6,\) \(3 such tensors\)"):
        net.export(net.min())
