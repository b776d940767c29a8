"""Models that Transformers stores under other names than their modules have, through real `save_pretrained` folders."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import loomweight as lw
from loomweight.errors import ShapesDiffer
from loomweight.merge.coordinates import holding
from loomweight.merge.filing import filing, in_modules
from loomweight.weights import from_module
from loomweight.weights.axes import axes

from ..cli.networks import shuffled
from ..cli.run import run

transformers: Any = pytest.importorskip("transformers")

TOWER = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
WORDS = {"vocab_size": 11, "num_key_value_heads": 1, "max_position_embeddings": 16}
MODELS: dict[str, dict[str, Any]] = {
    "ViTForImageClassification": TOWER | {"image_size": 8, "patch_size": 4},
    "MixtralForCausalLM": TOWER | WORDS | {"num_local_experts": 3, "num_experts_per_tok": 2},
    "Qwen2MoeForCausalLM": TOWER | WORDS | {"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 4, "shared_expert_intermediate_size": 12},
}
every = pytest.mark.parametrize("kind", MODELS)


def made(kind: str, seed: int = 0) -> Any:
    model = getattr(transformers, kind)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model(model.config_class(**MODELS[kind])).eval()
        for parameter in model.parameters():
            parameter.data += 0.3 * torch.rand(parameter.shape)
    return model


def inputs(kind: str) -> torch.Tensor:
    return torch.linspace(-1, 1, 192).reshape(1, 3, 8, 8) if kind.startswith("ViT") else torch.tensor([[1, 4, 7, 3, 9, 2]])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in ("some_data", "pictures"):
        sys.modules.pop(name, None)


@every
def test_there_and_back(kind: str, here: Path) -> None:
    model = made(kind)
    model.save_pretrained(here / "one")
    stored, own = lw.load(here / "one"), from_module(model)
    assert set(stored.names) != set(own.names)
    found = in_modules(model, stored)
    assert found.names == own.names and all(torch.equal(found[name], own[name]) for name in own)
    assert in_modules(model, found) is found
    back = filing(model).outward(found, stored)  # type: ignore[union-attr]
    assert back.names == stored.names and all(torch.equal(back[name], stored[name]) for name in stored)
    assert torch.equal(holding(made(kind, 1), stored)(inputs(kind)).logits, model(inputs(kind)).logits)


def test_what_is_stored_as_it_is_stays() -> None:
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**TOWER, **WORDS))
    assert filing(model) is None and filing(torch.nn.Linear(1, 1)) is None


def test_what_the_model_does_not_know_keeps_its_name_and_parts_are_left_out(here: Path) -> None:
    model = made("MixtralForCausalLM")
    model.save_pretrained(here / "one")
    stored = dict(lw.load(here / "one"))
    expert = "model.layers.0.block_sparse_moe.experts.1.w1.weight"
    part = lw.Weights.of({name: tensor for name, tensor in stored.items() if name != expert} | {"extra": torch.ones(2)})
    found = in_modules(model, part)
    assert "extra" in found and "model.layers.0.mlp.experts.gate_up_proj" not in found and "model.layers.0.mlp.experts.down_proj" in found
    with pytest.raises(ShapesDiffer, match=rf"tensor '{expert}' has shape \(4, 8\), but the model says \(12, 8\)"):
        in_modules(model, lw.Weights.of(stored | {expert: torch.ones(4, 8)}))


@pytest.mark.parametrize(
    ("kind", "method"), [*((kind, "weights") for kind in MODELS), *((kind, how) for kind in list(MODELS)[:2] for how in ("ot", "activations"))]
)
def test_a_shuffled_checkpoint_comes_back(kind: str, method: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the config alone: the model is made, traced, and its names are those of the file again."""
    model = made(kind)
    model.save_pretrained(here / "one")
    twin = made(kind)
    twin.load_state_dict(dict(shuffled(from_module(model), axes(model, inputs(kind), outputs=lambda out: out.logits))))
    twin.save_pretrained(here / "two")
    (here / "some_data.py").write_text(
        "import torch\n"
        "def batches():\n"
        "    draw = torch.Generator().manual_seed(0)\n"
        + (
            "    return [torch.randn(8, 3, 8, 8, generator=draw)]\n"
            if kind.startswith("ViT")
            else "    return [torch.randint(0, 11, (6, 12), generator=draw)]\n"
        )
    )
    data = ("--data", "some_data:batches") if method == "activations" else ()
    ran = run(capsys, "align", "two", "--to", "one", "out", "--model", "one", "--method", method, *data)
    assert ran.code == 0, ran.err
    one, two, out = (lw.load(name) for name in ("one", "two", "out"))
    assert out.names == one.names and lw.norm(two - one) > 1
    assert lw.norm(out - one) < (0.05 if method == "activations" else 1e-4) * lw.norm(one)
    loaded = type(model).from_pretrained("out")
    assert torch.allclose(loaded(inputs(kind)).logits, model(inputs(kind)).logits, atol=1e-4)


def test_a_recipe_and_a_barrier(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = made("ViTForImageClassification")
    model.save_pretrained("one")
    made("ViTForImageClassification", 1).save_pretrained("two")
    Path("r.yaml").write_text(
        "merge_method: linear\nmodels: [{model: one}, {model: two}]\nparameters: {weight: 1}\nalign: {model: one}\ndrop: ['classifier.bias']\n"
    )
    assert run(capsys, "merge", "r.yaml", "out").code == 0
    assert set(lw.load("one").names) - set(lw.load("out").names) == {"classifier.bias"}
    Path("pictures.py").write_text("import torch\ndef batches(): return [(torch.ones(2, 3, 8, 8), torch.tensor([0, 1]))]\n")
    ran = run(capsys, "barrier", "one", "two", "--model", "one", "--data", "pictures:batches", "--steps", "3", "--align", "weights", "--json")
    assert ran.code == 0, ran.err
    assert set(json.loads(ran.out)["barriers"]) == {"as they are", "aligned by weights"}
    assert run(capsys, "axes", "one", "--checkpoint", "two").code == 0
