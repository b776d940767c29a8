"""`loomweight align`: a network in another's coordinates, what is told of it, and what is refused."""

import json
import re
from pathlib import Path

import pytest
import torch

import loomweight as lw
from loomweight.evaluate import apart
from loomweight.weights import Output, write
from loomweight.weights.axes import axes, axes_of

from .networks import mlp, same, shuffled, table, tiny
from .run import Ran, run

pytestmark = pytest.mark.usefixtures("here")
TABLE = ("--table", "hand.axes")
SORTED = {"first.weight": (8, 3), "first.bias": (8,), "second.weight": (8, 8), "second.bias": (8,), "last.weight": (2, 8), "last.bias": (2,)}
MODEL = ("--model", "nets:mlp", "--example", "nets:inputs")
LLAMA = {"vocab_size": 30, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}


def align(capsys: pytest.CaptureFixture[str], moving: str, to: str, *options: str) -> Ran:
    return run(capsys, "align", moving, "--to", to, "out", *options)


def equal(left: str, right: str) -> bool:
    a, b = lw.load(left), lw.load(right)
    return a.names == b.names and all(same(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    "how",
    [
        TABLE,
        MODEL,
        (*MODEL, "--method", "activations", "--data", "nets:batches"),
        (*TABLE, "--method", "ot"),
        (*MODEL, "--method", "ot", "--data", "nets:batches"),
    ],
    ids=["hand", "traced", "activations", "ot", "ot by activations"],
)
def test_a_shuffled_copy_comes_back(how: tuple[str, ...], capsys) -> None:
    ran = align(capsys, "b", "a", *how)
    assert ran.code == 0, ran.err
    assert equal("out", "a") and not equal("b", "a")
    assert re.match(r"out: was [\d.]+ \([\d.]+% of its norm, cosine 0\.\d+\) from a, is .* cosine 1\.000\)", ran.out)


def test_what_is_told_is_what_the_files_hold(capsys) -> None:
    ran = align(capsys, "c", "a", *TABLE, "--layers")
    before, after = (apart(lw.load(name), lw.load("a")) for name in ("c", "out"))
    assert after[""].distance < before[""].distance
    assert f"was {before[''].distance:.4g} (" in ran.out and f"is {after[''].distance:.4g} (" in ran.out
    flat = [torch.cat([lw.load(name)[tensor].flatten() for tensor in ("0.weight", "0.bias")]).double() for name in ("out", "a")]
    cosine = torch.nn.functional.cosine_similarity(*flat, dim=0)
    assert f"{cosine:.4f}" in ran.out  # of layer 0, by the definition
    units = lw.load("out")["0.bias"].sort().values
    assert torch.equal(units, lw.load("c")["0.bias"].sort().values)  # nothing but an order has changed


def test_a_family_needs_neither_model_nor_table_and_its_files_come_along(capsys, tmp_path) -> None:
    model = tiny("LlamaForCausalLM", tmp_path / "one", **LLAMA)
    weights = lw.load("one")
    (tmp_path / "one/tokenizer_config.json").write_text("{}")
    side = {name: (tmp_path / "one" / name).read_bytes() for name in ("config.json", "tokenizer_config.json")}
    write(shuffled(weights, axes_of(tmp_path / "one")), Output("two", files=side))
    ran = align(capsys, "two", "one")
    assert ran.code == 0, ran.err
    assert equal("out", "one") and not equal("two", "one")
    assert (tmp_path / "out/tokenizer_config.json").exists()
    ids = torch.arange(6)[None]
    loaded = type(model).from_pretrained("out")
    assert torch.allclose(loaded(ids).logits, model(ids).logits, atol=1e-5)


def test_a_tied_model_by_its_activations(capsys, tmp_path) -> None:
    tiny("LlamaForCausalLM", tmp_path / "one", **LLAMA, tie_word_embeddings=True)
    config = (tmp_path / "one/config.json").read_bytes()
    write(shuffled(lw.load("one"), axes_of(tmp_path / "one")), Output("two", files={"config.json": config}))
    assert "lm_head.weight" not in lw.load("two")  # it is the embedding
    Path("words.py").write_text("import torch\ndef batches(): return [torch.arange(20).reshape(2, 10), torch.arange(29, 9, -1).reshape(2, 10)]\n")
    ran = align(capsys, "two", "one", "--model", "one", "--method", "activations", "--data", "words:batches")
    assert ran.code == 0, ran.err
    found, before = (apart(lw.load(name), lw.load("one"))[""].distance for name in ("out", "two"))
    assert found < 0.01 < 1 < before


def test_another_width_by_optimal_transport(capsys) -> None:
    Path("a/config.json").write_text('{"hidden_size": 8}')
    Path("wide/config.json").write_text('{"hidden_size": 16}')
    ran = align(capsys, "wide", "a", *TABLE, "--method", "ot")
    assert ran.code == 0 and "had another width or depth, is " in ran.out, ran.err
    assert {name: spec.shape for name, spec in lw.load("out").spec.items()} == {name: spec.shape for name, spec in lw.load("a").spec.items()}
    assert json.loads(Path("out/config.json").read_text()) == {"hidden_size": 8}


DEEP = ("--model", "nets:deep", "--moving-model", "nets:mlp", "--example", "nets:inputs", "--method", "depth")
SHALLOW = ("--model", "nets:mlp", "--moving-model", "nets:deep", "--example", "nets:inputs", "--method", "depth")


def put_out(model: torch.nn.Module, folder: str) -> torch.Tensor:
    model.load_state_dict(dict(lw.load(folder)))
    return model(torch.linspace(-1, 1, 30).reshape(10, 3)).detach()


@pytest.mark.parametrize("data", [(), ("--data", "nets:batches")], ids=["by position", "by data"])
def test_a_network_gets_more_layers_and_computes_what_it_did(data: tuple[str, ...], capsys) -> None:
    ran = align(capsys, "a", "deep", *DEEP, *data)
    assert ran.code == 0 and "had another width or depth, is " in ran.out, ran.err
    assert lw.load("out").names == lw.load("deep").names
    assert torch.allclose(put_out(mlp(depth=2), "out"), put_out(mlp(), "a"), atol=1e-5)
    assert not torch.allclose(put_out(mlp(depth=2), "deep"), put_out(mlp(), "a"), atol=0.1)


def test_a_network_of_fewer_layers_needs_data(capsys) -> None:
    ran = align(capsys, "deep", "a", *SHALLOW)
    assert ran.code == 2 and re.search(r"layer '2' has to be merged into '4', which needs evidence from data: give a model and data", ran.err)
    ran = align(capsys, "deep", "a", *SHALLOW, "--data", "nets:batches")
    assert ran.code == 0, ran.err
    assert {name: spec.shape for name, spec in lw.load("out").spec.items()} == {name: spec.shape for name, spec in lw.load("a").spec.items()}


@pytest.mark.parametrize(("method", "moving", "to"), [("ot", "wide", "a"), ("depth", "a", "deep")])
def test_a_network_of_another_size_needs_a_model_of_its_own(method: str, moving: str, to: str, capsys) -> None:
    own = {"a": "mlp", "wide": "wide", "deep": "deep"}
    ran = align(capsys, moving, to, "--model", f"nets:{own[to]}", "--example", "nets:inputs", "--method", method, "--data", "nets:batches")
    assert ran.code == 2 and re.search(rf"{moving} does not fit nets:{own[to]}: .* Name its own with moving_model or moving_table", ran.err)
    ours = ("--moving-model", f"nets:{own[moving]}")
    ran = align(capsys, moving, to, "--model", f"nets:{own[to]}", *ours, "--example", "nets:inputs", "--method", method, "--data", "nets:batches")
    assert ran.code == 0, ran.err
    assert {name: spec.shape for name, spec in lw.load("out").spec.items()} == {name: spec.shape for name, spec in lw.load(to).spec.items()}


def test_depth_leaves_a_network_of_the_same_depth_to_transport(capsys) -> None:
    ran = align(capsys, "b", "a", *TABLE, "--method", "depth")
    assert ran.code == 0 and equal("out", "a"), ran.err


def test_a_family_of_another_depth(capsys, tmp_path) -> None:
    """Blocks that add nothing are put between: the same words come out, under the deeper model's config."""
    shallow = tiny("LlamaForCausalLM", tmp_path / "two", **LLAMA)
    deep = tiny("LlamaForCausalLM", tmp_path / "four", **LLAMA | {"num_hidden_layers": 4})
    ran = align(capsys, "two", "four", "--method", "depth")
    assert ran.code == 0, ran.err
    assert json.loads(Path("out/config.json").read_text())["num_hidden_layers"] == 4
    ids = torch.arange(6)[None]
    found = type(deep).from_pretrained("out")
    assert torch.allclose(found(ids).logits, shallow(ids).logits, atol=1e-5)
    assert not torch.allclose(deep(ids).logits, shallow(ids).logits, atol=1e-3)
    inside = "model.layers.{}.mlp.gate_proj.weight"  # of the block that is added: the reference's own
    assert sum(same(lw.load("out")[inside.format(i)], lw.load("four")[inside.format(i)]) for i in range(4)) == 2


def test_another_depth_is_named(capsys) -> None:
    ran = align(capsys, "a", "deep", *TABLE)
    assert ran.code == 2 and re.search(r"a and deep have different numbers of layers \*: only in the second: '4\.bias', '4\.weight'; the method depth", ran.err)


@pytest.mark.parametrize(("change", "says"), [({"hidden_size": 9}, "hidden_size = 9"), ({"num_hidden_layers": 3}, "num_hidden_layers = 3")], ids=str)
def test_a_config_that_its_tensors_deny_is_not_written(change: dict[str, int], says: str, capsys, tmp_path) -> None:
    tiny("LlamaForCausalLM", tmp_path / "one", **LLAMA)
    config = json.loads((tmp_path / "one/config.json").read_text())
    write(shuffled(lw.load("one"), axes_of(tmp_path / "one")), Output("two", files={"config.json": json.dumps(config | change).encode()}))
    (tmp_path / "one.axes").write_text(str(axes_of(tmp_path / "one")))
    ran = align(capsys, "two", "one", "--table", "one.axes")
    assert ran.code == 2 and re.search(rf"two/config\.json contradicts the tensors.*{says}, but .*Mend it", ran.err) and not Path("out").exists()
    assert run(capsys, "align", "two", "--to", "one", "out.safetensors", "--table", "one.axes").code == 0
    assert equal("out.safetensors", "one")


def test_a_file_is_written_where_one_is_named(capsys) -> None:
    assert run(capsys, "align", "b", "--to", "a", "out.safetensors", *TABLE).code == 0
    assert equal("out.safetensors", "a")


def test_batch_norm_and_its_counters_move_along(capsys) -> None:
    Path("normed.py").write_text("from torch import nn\ndef net(): return nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))\n")
    model = torch.nn.Sequential(torch.nn.Linear(3, 6), torch.nn.BatchNorm1d(6), torch.nn.ReLU(), torch.nn.Linear(6, 2))
    model(torch.randn(9, 3, generator=torch.Generator().manual_seed(0)))
    weights = lw.load(model)
    lw.save(weights, "one")
    lw.save(shuffled(weights, axes(model.eval(), torch.zeros(2, 3))), "two")
    for method in ("weights", "ot"):
        ran = run(capsys, "align", "two", "--to", "one", method, "--method", method, "--model", "normed:net", "--example", "nets:inputs")
        assert ran.code == 0, ran.err
        assert equal(method, "one") and lw.load(method)["1.num_batches_tracked"] == 1


def test_the_same_seed_writes_the_same_bytes(capsys) -> None:
    assert run(capsys, "align", "c", "--to", "a", "x", *TABLE, "--seed", "3").code == 0
    assert run(capsys, "align", "c", "--to", "a", "y", *TABLE, "--seed", "3").code == 0
    assert Path("x/model.safetensors").read_bytes() == Path("y/model.safetensors").read_bytes()


def test_what_tracing_left_alone_is_said(capsys) -> None:
    model = {name: torch.randn(shape, generator=torch.Generator().manual_seed(1)) for name, shape in SORTED.items()}
    for name in ("one", "two"):
        lw.save(model, name)
    ran = run(capsys, "align", "two", "--to", "one", "out", "--model", "nets:Sorted", "--example", "nets:inputs")
    assert ran.code == 0 and re.search(r"note: .*second.*stay.*sort", ran.err)


def test_an_interrupt_leaves_no_output_and_can_be_resumed(capsys, monkeypatch) -> None:
    def stop(*given: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(lw.align, "weight_matching", stop)
        ran = align(capsys, "b", "a", *TABLE)
    assert ran.code == 130 and "interrupted" in ran.err and not Path("out").exists()
    assert align(capsys, "b", "a", *TABLE, "--resume").code == 0
    assert equal("out", "a") and not [path for path in Path().iterdir() if path.name.startswith(".out")]


def test_apart_is_what_its_words_say() -> None:
    a, b = lw.load("a"), lw.load("c")
    found = apart(a, b)
    flat = [torch.cat([weights[name].flatten() for name in weights]).double() for weights in (a, b)]
    assert found[""].distance == pytest.approx(float((flat[0] - flat[1]).norm()))
    assert found[""].relative == pytest.approx(float((flat[0] - flat[1]).norm() / flat[1].norm()))
    assert found[""].cosine == pytest.approx(float(torch.nn.functional.cosine_similarity(flat[0], flat[1], dim=0)))
    assert list(found) == ["", "0", "2"]
    assert table().fits(a) is None
