"""`loomweight barrier`: what a user sees, and how it ends."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from .run import run

NETS = """
import torch
from torch import nn

def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

def mlp():
    return nn.Sequential(nn.Linear(5, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 3))

def normed():
    return nn.Sequential(nn.Linear(5, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 3))

def other():
    return nn.Linear(5, 3)

def no_model():
    return 3

def fails():
    raise ValueError("out of luck")

def batches():
    x = drawn(60, 5)
    return [(x[i : i + 25], 3 * (x[i : i + 25] @ drawn(5, 3, seed=1))) for i in (0, 25, 50)]

def classes():
    return [(x, y.argmax(1)) for x, y in batches()]

def wrong_labels():
    return [(x, y[:, :2]) for x, y in batches()]

def empty():
    return []

def judge(weights):
    return float(sum(weights[name].square().sum() for name in weights if weights.spec[name].averages))

def words(weights):
    return "low"

answer = 42
"""


@pytest.fixture
def scene(tmp_path, monkeypatch) -> Path:
    """A folder with a module, a network, its permuted copy and a third one."""
    name = f"nets_{abs(hash(str(tmp_path))) % 10**9}"
    (tmp_path / f"{name}.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    state = {key: draw(tensor.shape, number) for number, (key, tensor) in enumerate(mlp().state_dict().items())}
    order = torch.randperm(12, generator=torch.Generator().manual_seed(5))
    turned = state | {"0.weight": state["0.weight"][order], "0.bias": state["0.bias"][order], "2.weight": state["2.weight"][:, order].contiguous()}
    save_file(state, tmp_path / "a.safetensors")
    save_file(turned, tmp_path / "b.safetensors")
    save_file({key: draw(tensor.shape, 9 + number) for number, (key, tensor) in enumerate(state.items())}, tmp_path / "c.safetensors")
    (tmp_path / "name").write_text(name)
    return tmp_path


def draw(shape: torch.Size, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 3))


def words(scene: Path, model: str = "mlp", data: str = "batches") -> list[str]:
    name = (scene / "name").read_text()
    return ["--model", f"{name}:{model}", "--data", f"{name}:{data}"]


def test_a_permuted_copy_has_a_barrier_until_it_is_aligned(capsys, scene) -> None:
    ran = run(capsys, "barrier", "a.safetensors", "b.safetensors", *words(scene), "--align", "weights", "--steps", 5, "--json")
    assert ran.code == 0
    found = json.loads(ran.out)["barriers"]
    assert found["as they are"]["height"] > 0.3
    assert found["as they are"]["losses"][0] == pytest.approx(found["as they are"]["losses"][-1], rel=1e-5)
    assert found["aligned by weights"]["height"] < 1e-4 * found["as they are"]["height"]
    assert found["as they are"]["positions"] == [0, 0.25, 0.5, 0.75, 1]


def test_the_loss_is_that_of_all_examples_at_once(capsys, scene) -> None:
    """Batches of 25, 25 and 10."""
    from safetensors.torch import load_file

    spaces: dict[str, object] = {}
    exec(NETS, spaces)
    model = mlp()
    model.load_state_dict(load_file("a.safetensors"))
    x, y = (torch.cat(parts) for parts in zip(*spaces["batches"](), strict=True))
    for data, want in (("batches", (model(x) - y).square().mean()), ("classes", nn.functional.cross_entropy(model(x), y.argmax(1)))):
        ran = run(capsys, "barrier", "a.safetensors", "b.safetensors", *words(scene, data=data), "--steps", 3, "--json")
        assert json.loads(ran.out)["barriers"]["as they are"]["losses"][0] == pytest.approx(float(want.detach()), rel=1e-5)


def test_tables_layers_and_pictures(capsys, scene) -> None:
    ran = run(capsys, "barrier", "a.safetensors", "b.safetensors", "c.safetensors", *words(scene), "--layers", "--steps", 3, "--out", "map.svg")
    assert ran.code == 0 and "as they are: barrier" in ran.out and "█" in ran.out
    assert "loss when averaged alone" in ran.out and "the least on the map is" in ran.out and "c " in ran.out
    for picture in ("map.svg", "map-layers.svg", "map-plane.svg"):
        assert (scene / picture).stat().st_size > 5000
    found = json.loads(run(capsys, "barrier", "a.safetensors", "b.safetensors", *words(scene), "--layers", "--steps", 3, "--json").out)
    assert [group["name"] for group in found["layers"]] == ["0", "2", "4"]
    assert found["layers"][2]["height"] == pytest.approx(0, abs=1e-4)  # the last layer is the same in both


def test_a_loss_of_the_users_own(capsys, scene) -> None:
    name = (scene / "name").read_text()
    ran = run(capsys, "barrier", "a.safetensors", "b.safetensors", "--eval", f"{name}:judge", "--steps", 3, "--json")
    found = json.loads(ran.out)["barriers"]["as they are"]
    assert found["height"] == 0 and found["rises"][1] < 0  # a convex loss has no barrier


def test_batch_norm_is_told_of_and_renewed_and_its_counters_are_no_obstacle(capsys, scene) -> None:
    spaces: dict[str, object] = {}
    exec(NETS, spaces)
    for number in range(2):
        model = spaces["normed"]()
        state = {
            key: draw(tensor.shape, number + 3 * i).abs() if tensor.is_floating_point() else tensor
            for i, (key, tensor) in enumerate(model.state_dict().items())
        }
        save_file(state | {"1.num_batches_tracked": torch.tensor(number)}, scene / f"n{number}.safetensors")
    plain = run(capsys, "barrier", "n0.safetensors", "n1.safetensors", *words(scene, "normed"), "--steps", 3, "--json")
    renewed = run(capsys, "barrier", "n0.safetensors", "n1.safetensors", *words(scene, "normed"), "--steps", 3, "--json", "--renew")
    assert plain.code == renewed.code == 0
    assert "--renew computes their statistics anew" in plain.err and not renewed.err
    assert json.loads(plain.out) != json.loads(renewed.out)


NAME = "{name}"
MISTAKES = {
    "no loss": ([], "either --model and --data, or --eval alone"),
    "two losses": (["--eval", "{name}:judge", "--data", "{name}:batches"], "either --model and --data, or --eval alone"),
    "a typo in the factory": (["--model", "{name}:mpl", "--data", "{name}:batches"], "nearest: 'mlp'"),
    "a typo in the module": (["--model", "{name}s:mlp", "--data", "{name}:batches"], "no module named"),
    "a factory of no model": (["--model", "{name}:no_model", "--data", "{name}:batches"], "no_model() gives a int, not a torch.nn.Module"),
    "a factory that fails": (["--model", "{name}:fails", "--data", "{name}:batches"], "fails() ended with ValueError: out of luck"),
    "another model": (["--model", "{name}:other", "--data", "{name}:batches"], "hold different tensors"),
    "a data function that is none": (["--model", "{name}:mlp", "--data", "{name}:answer"], "answer is a int, not a function"),
    "no batch": (["--model", "{name}:mlp", "--data", "{name}:empty"], "empty() gives no batch"),
    "a model for data": (["--model", "{name}:mlp", "--data", "{name}:mlp"], "not batches that can be gone through"),
    "labels that do not fit": (["--model", "{name}:mlp", "--data", "{name}:wrong_labels"], "do not fit labels of shape (25, 2)"),
    "an evaluator of words": (["--eval", "{name}:words"], "words gives a str, not a number"),
    "an evaluator that takes nothing": (["--eval", "{name}:empty"], "empty(weights) ended with TypeError"),
    "a way to align": (["--model", "{name}:mlp", "--data", "{name}:batches", "--align", "weight"], "nearest: 'weights'"),
    "a picture of no kind": (["--model", "{name}:mlp", "--data", "{name}:batches", "--out", "a.jpx"], "a picture ends in .png, .svg, .pdf"),
    "a picture nowhere": (["--model", "{name}:mlp", "--data", "{name}:batches", "--out", "no/a.png"], "no is no folder"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_message(capsys, scene, mistake: str) -> None:
    arguments, message = MISTAKES[mistake]
    name = (scene / "name").read_text()
    ran = run(capsys, "barrier", "a.safetensors", "b.safetensors", *(word.replace(NAME, name) for word in arguments), "--steps", 3)
    assert ran.code == 2 and message in ran.err and "Traceback" not in ran.err
    assert ran.err.count("error:") == 1


def test_broken_and_missing_checkpoints(capsys, scene) -> None:
    missing = run(capsys, "barrier", "a.safetensors", "x.safetensors", *words(scene))
    assert missing.code == 2 and "x.safetensors" in missing.err
    whole = (scene / "b.safetensors").read_bytes()
    (scene / "b.safetensors").write_bytes(whole[:-40])
    cut = run(capsys, "barrier", "a.safetensors", "b.safetensors", *words(scene))
    assert cut.code == 2 and cut.err.count("error:") == 1 and "b.safetensors" in cut.err
    line = run(capsys, "barrier", "a.safetensors", "c.safetensors", "a.safetensors", *words(scene), "--steps", 3)
    assert line.code == 2 and "lie on one line" in line.err
    assert run(capsys, "barrier", "a.safetensors", "c.safetensors", *words(scene), "--steps", 2).code == 2


def test_a_language_model_of_transformers_is_asked_for_the_next_token(capsys, tmp_path, monkeypatch) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=13, n_positions=16, n_embd=8, n_layer=1, n_head=2)
    x = torch.arange(24).reshape(2, 12) % 13
    for number in range(2):
        torch.manual_seed(number)
        model = transformers.GPT2LMHeadModel(config)
        model.save_pretrained(tmp_path / f"m{number}")
    model.eval()
    (tmp_path / "lines_of_text.py").write_text("import torch\ndef batches(): return [{'input_ids': torch.arange(24).reshape(2, 12) % 13}]")
    monkeypatch.chdir(tmp_path)
    ran = run(capsys, "barrier", "m0", "m1", "--model", "m0", "--data", "lines_of_text:batches", "--steps", 3, "--json", "--align", "weights")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)["barriers"]
    scores = model(x).logits[:, :-1]
    want = nn.functional.cross_entropy(scores.reshape(-1, 13), x[:, 1:].reshape(-1))
    assert found["as they are"]["losses"][-1] == pytest.approx(float(want.detach()), rel=1e-4)
    assert found["aligned by weights"]["losses"][-1] == pytest.approx(found["as they are"]["losses"][-1], rel=1e-3)
