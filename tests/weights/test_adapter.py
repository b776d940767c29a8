"""Adapters against PEFT itself: what we fold equals its `merge_and_unload`, for every kind of layer and scaling."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import loomweight as lw
from loomweight import errors
from loomweight.weights.low_rank import LowRank
from loomweight.weights.spec import spans

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


class Net(nn.Module):
    """One of each kind of layer that LoRA adapts."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.square = nn.Linear(6, 6)
        self.wide = nn.Linear(6, 10)
        self.conv = nn.Conv2d(3, 4, (3, 2))
        self.point = nn.Conv2d(3, 4, 1)
        self.line = nn.Conv1d(3, 5, 3)
        self.head = nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.wide(self.square(self.embed(x))))


def gpt2() -> nn.Module:
    config = transformers.GPT2Config(n_embd=8, n_head=2, n_layer=2, vocab_size=32, n_positions=16)
    return transformers.GPT2LMHeadModel(config)


def llama(tied: bool = False) -> nn.Module:
    sizes = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 32}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, tie_word_embeddings=tied))


def bert() -> nn.Module:
    sizes = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 32}
    return transformers.BertForSequenceClassification(transformers.BertConfig(**sizes))


def trained(model: nn.Module, path: Path, seed: int = 0, **settings: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Adapt the model with random numbers in every trainable tensor, save the adapter, and let PEFT merge it: (base, merged)."""
    torch.manual_seed(seed)
    base = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    adapted = peft.get_peft_model(model, peft.LoraConfig(**settings))
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) / 3)
    adapted.save_pretrained(path)
    adapted.eval()
    return base, adapted.merge_and_unload().state_dict()


def assert_equal(ours: lw.Weights, peft_merged: dict[str, Tensor]) -> None:
    assert set(ours) == set(peft_merged)
    for name, tensor in peft_merged.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-5, atol=2e-6, msg=lambda text, name=name: f"{name}: {text}")


LINEAR = ["square", "wide", "head"]
CASES: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "linear": (Net, {"target_modules": LINEAR, "r": 3, "lora_alpha": 5}),
    "rank-stabilised": (Net, {"target_modules": LINEAR, "r": 4, "lora_alpha": 5, "use_rslora": True}),
    "embedding": (Net, {"target_modules": ["embed", "wide"], "r": 2}),
    "convolutions": (Net, {"target_modules": ["conv", "point", "line"], "r": 2, "lora_alpha": 3}),
    "dora": (Net, {"target_modules": LINEAR, "r": 3, "use_dora": True}),
    "dora of embedding and convolutions": (Net, {"target_modules": ["embed", "conv", "point", "line"], "r": 2, "use_dora": True, "use_rslora": True}),
    "biases of factors": (Net, {"target_modules": LINEAR, "r": 3, "lora_bias": True}),
    "all biases": (Net, {"target_modules": ["wide"], "r": 3, "bias": "all"}),
    "biases of adapted layers": (Net, {"target_modules": ["wide"], "r": 3, "bias": "lora_only"}),
    "a trained module": (Net, {"target_modules": ["wide"], "r": 3, "modules_to_save": ["head"]}),
    "llama": (llama, {"target_modules": "all-linear", "r": 2}),
    "llama with patterns": (
        llama,
        {
            "target_modules": ["q_proj", "v_proj", "down_proj"],
            "r": 2,
            "lora_alpha": 6,
            "rank_pattern": {"layers.1.self_attn.q_proj": 4, "v_proj": 3, "_proj": 7, "^model.layers.0.mlp.down_proj": 5},
            "alpha_pattern": {r"layers\.\d+\.mlp\.down_proj": 9, ".*q_proj": 1.5},
            "use_rslora": True,
        },
    ),
    "llama's embedding, resaved whole": (llama, {"target_modules": ["embed_tokens", "lm_head"], "r": 2}),
    "llama with dora": (llama, {"target_modules": ["q_proj", "up_proj", "embed_tokens"], "r": 2, "use_dora": True}),
    "gpt-2": (gpt2, {"target_modules": ["c_attn", "c_proj", "c_fc"], "r": 2, "fan_in_fan_out": True}),
    "gpt-2, square weights alone": (gpt2, {"target_modules": r".*\.attn\.c_proj", "r": 2, "fan_in_fan_out": True}),
    "gpt-2 with dora": (gpt2, {"target_modules": ["c_attn", "c_proj"], "r": 2, "use_dora": True, "fan_in_fan_out": True}),
    "gpt-2's embedding": (gpt2, {"target_modules": ["wpe"], "r": 2}),
    "a classifier": (bert, {"task_type": "SEQ_CLS", "target_modules": ["query", "dense"], "r": 2}),
}


@pytest.mark.parametrize("case", CASES)
def test_folding_equals_pefts_merge(case: str, tmp_path: Path) -> None:
    build, settings = CASES[case]
    base, merged = trained(build(), tmp_path / "adapter", **settings)
    ours = lw.apply_adapter(lw.Weights.of(base, "base"), tmp_path / "adapter")
    assert_equal(ours, merged)
    assert any(not torch.equal(ours[name], base[name]) for name in base)
    if case == "gpt-2":
        for name in merged:  # the bits are those of one product a tensor, however the blocks are cut
            block, numel = ours.open(name), ours.spec[name].numel
            assert torch.equal(torch.cat([block(lo, hi) for lo, hi in spans(numel, 7)]), ours[name].flatten())


DELTAS = ["linear", "rank-stabilised", "convolutions", "biases of factors", "llama", "llama with patterns", "gpt-2", "gpt-2's embedding"]


@pytest.mark.parametrize("case", DELTAS)
def test_an_adapter_alone_is_the_delta(case: str, tmp_path: Path) -> None:
    build, settings = CASES[case]
    base, merged = trained(build(), tmp_path / "lora", **settings)
    path = tmp_path / "lora"
    tensors = load_file(path / "adapter_model.safetensors")
    save_file({name: tensor for name, tensor in tensors.items() if "base_layer" not in name}, path / "adapter_model.safetensors")
    delta = lw.load(path)
    assert delta.label == "lora" and 0 < len(delta) < len(base)
    named = lw.Weights.of(base).select(*delta)
    assert_equal(named + delta, {name: merged[name] for name in delta})


@pytest.mark.parametrize(("dtype", "digits"), [(torch.float32, 1e-6), (torch.float64, 1e-13)])
@pytest.mark.parametrize(("height", "rank", "width"), [(300, 5, 777), (12, 16, 11008), (40, 200, 30), (3, 1, 1)])
def test_products_do_not_depend_on_blocks_or_threads(height: int, rank: int, width: int, dtype: torch.dtype, digits: float) -> None:
    """Bit for bit. A float32 matrix product promises neither: 4096 x 11008 of rank 16 differed between 1 and 2 threads here."""
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(height, rank, generator=generator, dtype=dtype) * torch.logspace(-40, 20, height, dtype=dtype).unsqueeze(1)
    right = torch.randn(rank, width, generator=generator, dtype=dtype)
    product = LowRank.of(left, right, scaling=2 / 3)
    whole = product.block(0, height * width)
    bound = left.abs().amax(1, keepdim=True).double() * right.abs().amax(0).double() * rank
    assert ((whole.view(height, width).double() - 2 / 3 * left.double() @ right.double()).abs() <= digits * bound + 2**-149).all()
    before = torch.get_num_threads()
    try:
        for threads, size in ((1, 1000), (2, 99_999), (3, 1 << 17)):
            torch.set_num_threads(threads)
            assert torch.equal(torch.cat([product.block(lo, hi) for lo, hi in spans(height * width, size)]), whole)
    finally:
        torch.set_num_threads(before)
    assert whole.dtype == dtype and product.block(3, 3).numel() == 0


def test_folding_does_not_depend_on_the_blocks(tmp_path: Path) -> None:
    base, merged = trained(nn.Sequential(nn.Linear(500, 700)), tmp_path, target_modules=["0"], r=5)
    for weights in (lw.load(tmp_path), lw.apply_adapter(lw.Weights.of(base), tmp_path)):
        block = weights.open("0.weight")
        assert torch.equal(torch.cat([block(lo, hi) for lo, hi in spans(350_000, 99_999)]), weights["0.weight"].flatten())
    torch.testing.assert_close(weights["0.weight"], merged["0.weight"])


def test_a_double_base_keeps_its_precision(tmp_path: Path) -> None:
    base, merged = trained(Net().double(), tmp_path, target_modules=["wide", "square"], r=3, lora_alpha=5)
    change(tmp_path, lambda tensors: tensors.update({name: tensor.double() for name, tensor in tensors.items()}))
    stored = load_file(tmp_path / "adapter_model.safetensors")
    a, b = (stored[f"base_model.model.wide.lora_{half}.weight"] for half in "AB")
    folded = lw.apply_adapter(lw.Weights.of(base), tmp_path)
    torch.testing.assert_close(folded["wide.weight"], base["wide.weight"] + 5 / 3 * b @ a, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(folded["wide.weight"], merged["wide.weight"], rtol=1e-5, atol=1e-6)


def test_dora_over_several_groups_of_rows(tmp_path: Path) -> None:
    for build, name, settings in (
        (lambda: nn.Sequential(nn.Linear(500, 700)), "0.weight", {"target_modules": ["0"], "r": 5, "use_dora": True}),
        (lambda: nn.Sequential(nn.Embedding(700, 500)), "0.weight", {"target_modules": ["0"], "r": 5, "use_dora": True}),
    ):
        base, merged = trained(build(), tmp_path, **settings)
        folded = lw.apply_adapter(lw.Weights.of(base), tmp_path)
        torch.testing.assert_close(folded[name], merged[name], rtol=1e-5, atol=1e-6)
        block = folded.open(name)
        assert torch.equal(torch.cat([block(lo, hi) for lo, hi in spans(350_000, 99_999)]), folded[name].flatten())


def test_half_precision_is_rounded_once(tmp_path: Path) -> None:
    base, _ = trained(Net().to(torch.bfloat16), tmp_path, target_modules=["wide"], r=3, lora_alpha=5)
    stored = load_file(tmp_path / "adapter_model.safetensors")
    a, b = (stored[f"base_model.model.wide.lora_{half}.weight"].double() for half in "AB")
    exact = base["wide.weight"].double() + 5 / 3 * b @ a
    folded = lw.apply_adapter(lw.Weights.of(base), tmp_path)
    assert folded.spec["wide.weight"].dtype == torch.bfloat16 and torch.equal(folded["wide.weight"], exact.to(torch.bfloat16))


def test_a_path_with_a_plus_sign_folds_the_adapter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, merged = trained(llama(), tmp_path / "ad+apter", target_modules=["q_proj"], r=2)
    (tmp_path / "ba+se").mkdir()
    save_file(base, tmp_path / "ba+se" / "model.safetensors")
    folded = lw.load(f"{tmp_path}/ba+se+{tmp_path}/ad+apter")
    assert_equal(folded, merged)
    assert folded.label == "ba+se+ad+apter" and folded == lw.apply_adapter(lw.load(tmp_path / "ba+se"), tmp_path / "ad+apter")
    assert {tmp_path / "ba+se", tmp_path / "ad+apter"} <= set(folded.sources)
    monkeypatch.chdir(tmp_path)
    assert_equal(lw.load("ba+se+ad+apter"), merged)
    with pytest.raises(errors.UnknownName, match="no such file or folder: 'ba'"):
        lw.load("ba+ad+apter")
    with pytest.raises(errors.UnknownName, match=r"no such file or folder: 'ba\+se\+nothing'"):
        lw.load("ba+se+nothing")


def test_a_tied_tensor_is_changed_once_for_all_its_names(tmp_path: Path) -> None:
    model = llama(tied=True)
    base = lw.load(copy.deepcopy(model))
    assert dict(base.ties) == {"lm_head.weight": "model.embed_tokens.weight"}
    _, merged = trained(model, tmp_path, target_modules=["embed_tokens", "q_proj"], r=2)
    folded = lw.apply_adapter(base, tmp_path)
    assert dict(folded.ties) == dict(base.ties) and torch.equal(merged["lm_head.weight"], merged["model.embed_tokens.weight"])
    assert_equal(folded, merged)


def test_a_trained_head_over_a_tied_base_is_refused(tmp_path: Path) -> None:
    trained(llama(), tmp_path, target_modules=["q_proj"], r=2, modules_to_save=["lm_head"])
    tied = llama(tied=True)
    with pytest.raises(errors.TiesDiffer, match=r"replaces 'lm_head\.weight', which the base shares with 'model\.embed_tokens\.weight'; untie\(\) the base"):
        lw.apply_adapter(lw.load(tied), tmp_path)
    folded = lw.apply_adapter(lw.weights.untie(lw.load(tied)), tmp_path)
    assert not torch.equal(folded["lm_head.weight"], folded["model.embed_tokens.weight"])


def test_a_head_that_the_base_does_not_have_is_added(tmp_path: Path) -> None:
    base, merged = trained(bert(), tmp_path, task_type="SEQ_CLS", target_modules=["query"], r=2)
    body = {name: tensor for name, tensor in base.items() if not name.startswith("classifier")}
    assert_equal(lw.apply_adapter(lw.Weights.of(body), tmp_path), merged)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    trained(Net(), tmp_path / "a", target_modules=["wide"], r=3)
    return tmp_path / "a"


def configure(path: Path, **settings: Any) -> None:
    """Write settings over those of the adapter's config."""
    file = path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def change(path: Path, edit: Callable[[dict[str, Tensor]], object]) -> None:
    """Edit the adapter's tensors."""
    file = path / "adapter_model.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    edit(tensors)
    save_file(tensors, file)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"peft_type": "IA3"}, "peft_type is 'IA3'; only LORA"),
        ({"r": 4}, r"module 'wide' has factors of shapes \(3, 6\) and \(10, 3\), which do not make a product of rank 4"),
        ({"r": 0}, "the rank 'r' must be a whole number from 1, found 0"),
        ({"rank_pattern": {"wide": "3"}}, "the rank 'wide' must be a whole number from 1, found '3'"),
        ({"rank_pattern": {"(": 3}}, "the pattern '\\(' is no regular expression"),
        ({"lora_alpha": "x"}, "the alpha 'lora_alpha' must be a finite number"),
        ({"init_lora_weights": "pissa_niter_16"}, "changes the base"),
        ({"layer_replication": [[0, 1]]}, "layer_replication is set, and it adapts a model with repeated layers"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices is set"),
        ({"target_parameters": ["x"]}, "target_parameters is set"),
        ({"use_dora": True}, "lacks lora_magnitude_vector"),
    ],
)
def test_configs_that_are_not_understood(adapter: Path, settings: dict[str, Any], message: str) -> None:
    lw.load(adapter)
    configure(adapter, **settings)
    with pytest.raises(errors.BrokenFile, match=message):
        lw.load(adapter)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda t: t.pop("base_model.model.wide.lora_A.weight"), r"module 'wide' has 'base_model\.model\.wide\.lora_B\.weight' without the other factor"),
        (lambda t: t.update({"base_model.model.wide.lora_diag": torch.ones(3)}), r"tensor '.*lora_diag' is of no kind of LoRA"),
        (lambda t: t.update({"base_model.model.square.lora_A.x.weight": torch.ones(3)}), "holds several adapters: '', 'x'"),
        (lambda t: t.update({"base_model.model.wide.lora_B.bias": torch.ones(3)}), r"has 10 outputs, but '.*lora_B\.bias' has shape \(3,\)"),
    ],
)
def test_tensors_that_are_not_understood(adapter: Path, edit: Callable[[dict[str, Tensor]], object], message: str) -> None:
    change(adapter, edit)
    with pytest.raises(errors.BrokenFile, match=message):
        lw.load(adapter)


def test_the_adapters_name_in_a_key_is_taken_out(adapter: Path) -> None:
    plain = lw.load(adapter)["wide.weight"]
    change(adapter, lambda tensors: [tensors.update({re.sub(r"\.weight$", ".default.weight", name): tensors.pop(name)}) for name in list(tensors)])
    assert torch.equal(lw.load(adapter)["wide.weight"], plain)


def test_an_adapter_saved_by_torch(adapter: Path) -> None:
    plain = lw.load(adapter)["wide.weight"]
    torch.save(load_file(adapter / "adapter_model.safetensors"), adapter / "adapter_model.bin")
    (adapter / "adapter_model.safetensors").unlink()
    assert torch.equal(lw.load(adapter)["wide.weight"], plain)
    (adapter / "adapter_model.bin").unlink()
    with pytest.raises(errors.BrokenFile, match=r"the file 'adapter_model\.safetensors' is missing"):
        lw.load(adapter)


def test_what_is_no_delta_says_how_to_apply_it(tmp_path: Path) -> None:
    trained(Net(), tmp_path / "dora", target_modules=["wide"], r=3, use_dora=True)
    with pytest.raises(errors.BadParameter, match=r"a DoRA adapter is no delta without the base; use apply_adapter\(base, path\), or the path 'base\+adapter'"):
        lw.load(tmp_path / "dora")
    trained(Net(), tmp_path / "bias", target_modules=["wide"], r=3, bias="all")
    with pytest.raises(errors.BadParameter, match=r"replaces tensors of its base \(conv\.bias"):
        lw.load(tmp_path / "bias")


def test_a_base_that_is_not_this_adapters(adapter: Path) -> None:
    base = Net().state_dict()
    with pytest.raises(errors.NamesDiffer, match=r"changes tensors that the base lacks: 'wide\.weight'\."):
        lw.apply_adapter(lw.Weights.of({"x": torch.ones(1)}), adapter)
    with pytest.raises(errors.NamesDiffer, match=r"the base has 'model\.wide\.weight': rename\(\) the base first"):
        lw.apply_adapter(lw.Weights.of({f"model.{name}": tensor for name, tensor in base.items()}), adapter)
    with pytest.raises(errors.ShapesDiffer, match=r"'wide\.weight' has shape \(10, 7\) in the base, and the adapter's delta has"):
        lw.apply_adapter(lw.Weights.of(base | {"wide.weight": torch.ones(10, 7)}), adapter)
    with pytest.raises(errors.IntegersDiffer, match=r"'wide\.weight' is torch.int8 in the base"):
        lw.apply_adapter(lw.Weights.of(base | {"wide.weight": torch.ones(10, 6, dtype=torch.int8)}), adapter)


def test_a_square_weight_among_weights_stored_both_ways_is_not_guessed(tmp_path: Path) -> None:
    model = gpt2()
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().clone())
    base, _ = trained(model, tmp_path / "both", target_modules=["c_attn", "c_proj", "lm_head"], r=2)
    with pytest.raises(errors.BrokenFile, match=r"stored both ways, .* of 'transformer\.h\.0\.attn\.c_proj', .* the shape does not tell"):
        lw.apply_adapter(lw.Weights.of(base), tmp_path / "both")
    base, merged = trained(gpt2(), tmp_path / "one", target_modules=["c_attn", "c_proj"], r=2, fan_in_fan_out=True)
    configure(tmp_path / "one", fan_in_fan_out=False)  # a config at odds with what the other shapes show
    assert_equal(lw.apply_adapter(lw.Weights.of(base), tmp_path / "one"), merged)


def test_dora_of_a_weight_that_vanishes_is_refused(tmp_path: Path) -> None:
    base, _ = trained(Net(), tmp_path, target_modules=["wide"], r=3, use_dora=True)
    change(tmp_path, lambda tensors: tensors["base_model.model.wide.lora_B.weight"].zero_())
    base["wide.weight"][4] = 0
    with pytest.raises(errors.NonFinite, match=r"'wide\.weight': output 4 of base \+ delta has norm 0"):
        lw.apply_adapter(lw.Weights.of(base), tmp_path)["wide.weight"]


def test_an_adapter_in_the_folder_of_a_model_is_not_guessed(adapter: Path) -> None:
    save_file({"w": torch.ones(1)}, adapter / "model.safetensors")
    with pytest.raises(errors.BrokenFile, match=r"holds an adapter and also 'model\.safetensors'"):
        lw.load(adapter)


def test_folding_reads_nothing_before_it_is_asked(adapter: Path) -> None:
    folded = lw.apply_adapter(lw.Weights.of(Net().state_dict()), adapter)
    assert folded == folded and "wide.weight" in folded
    change(adapter, lambda tensors: tensors["base_model.model.wide.lora_A.weight"].zero_())
    with pytest.raises(errors.BrokenFile, match="changed since it was loaded"):
        folded["wide.weight"]
    assert folded["square.weight"].shape == (6, 6)
