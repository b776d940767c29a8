"""Checkpoints that are damaged, dangerous, or do not fit each other: merge names what and where, and touches nothing."""

import json
import os
import re
import shutil
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ..cli.run import run
from ..weights.files import entry, sparse, write
from .scene import LINEAR, SLERP, TIES, WEIGHTS, change, merged, recipe, refused, same, tensors, told

INDEX = f"{WEIGHTS}.index.json"
TWO = Path("two")
NORM = "model__norm__weight"


def sharded() -> dict[str, str]:
    """Cut `two` into two shards; tensor -> its shard."""
    found = load_file(TWO / WEIGHTS)
    (TWO / WEIGHTS).unlink()
    names = sorted(found)  # model.norm.weight is the last
    parts = {"model-00001-of-00002.safetensors": names[:20], "model-00002-of-00002.safetensors": names[20:]}
    for file, held in parts.items():
        save_file({name: found[name] for name in held}, TWO / file)
    return index({name: file for file, held in parts.items() for name in held})


def index(places: dict[str, str]) -> dict[str, str]:
    (TWO / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return places


def elsewhere(name: str) -> None:
    """An index that names a file which is there, but not in the folder."""
    places = sharded()
    save_file(load_file(TWO / "model-00002-of-00002.safetensors"), "secret.safetensors")
    index({tensor: name if "2-of" in file else file for tensor, file in places.items()})


def lacking() -> None:
    sharded()
    file = TWO / "model-00002-of-00002.safetensors"
    save_file({name: tensor for name, tensor in load_file(file).items() if name != "model.norm.weight"}, file)


def linked_out() -> None:
    sharded()
    shard = TWO / "model-00002-of-00002.safetensors"
    shard.rename("secret.safetensors")
    shard.symlink_to("../secret.safetensors")


def cut(path: Path, by: int = 10) -> None:
    os.truncate(path, path.stat().st_size - by)


def config(**told_: object) -> None:
    """Let the first model's config say something else; the result takes after it."""
    path = Path("one/config.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | told_))


def extra_layer(*models: str) -> None:
    for model in models:
        found = {name.replace("layers.3.", "layers.4."): tensor for name, tensor in tensors(model).items() if ".layers.3." in name}
        save_file(tensors(model) | {name: tensor.clone() for name, tensor in found.items()}, Path(model) / WEIGHTS)


def header(text: dict[str, object] | bytes, size: int = 8, length: int | None = None) -> None:
    write(TWO / WEIGHTS, text, bytes(size), length)


def huge_header() -> None:
    path = sparse(TWO / WEIGHTS, {}, 3 << 30)
    with path.open("r+b") as file:
        file.write(struct.pack("<Q", 2 << 30))


def bert() -> None:
    save_file({"encoder.layer.0.w": torch.ones(2)}, TWO / WEIGHTS)


GOOD = entry("F32", [2], 0, 8)

#: case -> (damage to the models, what the message says)
CASES: dict[str, tuple[Callable[[], object], str]] = {
    "tensor missing": (lambda: change("two", **{NORM: None}), r"one and two hold different tensors: only in one: '?model\.norm\.weight"),
    "extra tensor": (lambda: change("two", adapter__w=torch.ones(2)), r"one and two hold different tensors: .*only in two: '?adapter\.w"),
    "extra layer in one model": (lambda: extra_layer("two"), r"only in two: .*model\.layers\.4\."),
    "extra layer in all, which the config does not know": (
        lambda: extra_layer("one", "two"),
        r"'one' contradicts itself: .*num_hidden_layers = 4.*Mend its config",
    ),
    "shape": (lambda: change("two", **{NORM: torch.ones(9)}), r"tensor 'model\.norm\.weight' has shapes \[8\] in one, \[9\] in two"),
    "shape of the vocabulary": (
        lambda: change("two", model__embed_tokens__weight=torch.ones(13, 8)),
        r"tensor 'model\.embed_tokens\.weight' has shapes \[12, 8\] in one, \[13, 8\] in two; .*tokenizer_source",
    ),
    "dtype": (
        lambda: change("two", **{NORM: torch.ones(8).half()}),
        r"tensor 'model\.norm\.weight' has dtypes float32 in one, float16 in two; .*dtype: bfloat16",
    ),
    "integers and floats": (
        lambda: change("two", **{NORM: torch.ones(8).int()}),
        r"'model\.norm\.weight' has dtypes float32 in one, int32 in two; integers are never",
    ),
    "mixed architectures": (bert, r"one and two hold different tensors: only in one: .*; only in two: '?encoder\.layer\.0\.w"),
    "config lies about the width": (lambda: config(hidden_size=16), r"'one' contradicts itself: .*hidden_size = 16.*'model\.embed_tokens\.weight' has shape"),
    "config lies about the depth": (lambda: config(num_hidden_layers=3), r"'one' contradicts itself: .*num_hidden_layers = 3"),
    "config lies about the vocabulary": (lambda: config(vocab_size=99), r"'one' contradicts itself: .*vocab_size = 99"),
    "config is no JSON": (lambda: Path("one/config.json").write_text("{"), r"one/config\.json: not valid JSON"),
    "truncated file": (lambda: cut(TWO / WEIGHTS), r"line 4: .*two/model\.safetensors: tensor '\S+' ends at byte \d+, but the file has \d+: it is truncated"),
    "truncated shard": (lambda: (sharded(), cut(TWO / "model-00002-of-00002.safetensors")), r"two/model-00002-of-00002\.safetensors: tensor .* truncated"),
    "missing shard": (
        lambda: (sharded(), (TWO / "model-00002-of-00002.safetensors").unlink()),
        r"two/.*index\.json: the file 'model-00002-of-00002\.safetensors' is missing",
    ),
    "index lists what the shard lacks": (lacking, r"index\.json: lists 'model\.norm\.weight' in 'model-00002-of-00002\.safetensors', which lacks it"),
    "index leads to the parent": (lambda: elsewhere("../secret.safetensors"), r"index\.json: names the file '\.\./secret\.safetensors'.*only plain names"),
    "index leads to an absolute path": (
        lambda: elsewhere(str(Path.cwd() / "secret.safetensors")),
        r"index\.json: names the file '/.*secret\.safetensors'.*only plain names",
    ),
    "link leads out": (linked_out, r"model-00002-of-00002\.safetensors: a link to .*secret\.safetensors, outside the folder"),
    "index is no JSON": (lambda: (sharded(), (TWO / INDEX).write_text("{")), r"index\.json: not valid JSON"),
    "header longer than the file": (lambda: header({"a": GOOD}, 8, 10_000), r"two/model\.safetensors: .*the header claims 10000 bytes, but the file ends"),
    "header of two gigabytes": (huge_header, r"two/model\.safetensors: .*the header claims 2147483648 bytes, the format allows"),
    "overlapping offsets": (lambda: header({"a": GOOD, "b": entry("F32", [2], 4, 12)}, 12), r"two/model\.safetensors: tensors 'a' and 'b' overlap at byte \d+"),
    "negative offsets": (lambda: header({"a": entry("F32", [2], -8, 0)}), r"two/model\.safetensors: tensor 'a': data_offsets must satisfy"),
    "duplicate names": (lambda: header(b'{"a": %b, "a": %b}' % ((json.dumps(GOOD).encode(),) * 2)), r"two/model\.safetensors: .*the name 'a' stands twice"),
    "empty file": (lambda: (TWO / WEIGHTS).write_bytes(b""), r"two/model\.safetensors: .*0 bytes are no safetensors file"),
    "pointer of git lfs": (lambda: (TWO / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\n"), r"two/model\.safetensors: "),
    "no weights in the folder": ((TWO / WEIGHTS).unlink, r"line 4: .*two.*no weights.*'config\.json'"),
    "two saves in one folder": (
        lambda: ((kept := (TWO / WEIGHTS).read_bytes()), sharded(), (TWO / WEIGHTS).write_bytes(kept)),
        r"two.* of another save; one is stale",
    ),
}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("case", CASES)
def test_a_checkpoint_that_cannot_be_merged(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    damage, says = CASES[case]
    damage()
    refused(capsys, "merge", recipe(LINEAR), "out", says=says)
    refused(capsys, "merge", "r.yaml", "out", "--dry-run", says=says)  # none of it needs data


BROKEN = [case for case in CASES if "two/" in CASES[case][1] or "index" in case]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("case", [*BROKEN, "link leads out"])
def test_inspect_and_doctor_say_the_same(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    damage, says = CASES[case]
    says = says.removeprefix("line 4: .*")
    damage()
    refused(capsys, "inspect", "two", says=says)
    examined = run(capsys, "doctor", "two")
    assert examined.code == 1 and examined.err == "" and examined.out.startswith("BAD ")
    told(run(capsys, "diff", "one", "two"), says)


@pytest.mark.usefixtures("here")
def test_the_undamaged_models_merge_whole_and_in_shards(capsys: pytest.CaptureFixture[str]) -> None:
    merged(capsys, LINEAR)
    sharded()
    merged(capsys, LINEAR, out="again")
    assert (Path("again") / WEIGHTS).read_bytes() == (Path("out") / WEIGHTS).read_bytes()


def spoil() -> None:
    """One NaN and one Inf in one tensor of `two`."""
    both = tensors("two")["model.layers.1.mlp.up_proj.weight"].clone()
    both[3, 5], both[0, 2] = torch.nan, -torch.inf
    change("two", model__layers__1__mlp__up_proj__weight=both)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("method", ["linear", "ties", "multislerp", "karcher", "model_stock", "median"])
def test_nan_and_inf_are_named_and_left_out_on_demand(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    bad = "model.layers.1.mlp.up_proj.weight"
    texts = {
        "linear": LINEAR,
        "ties": TIES + "parameters: {density: 0.5}\n",
        "model_stock": "merge_method: model_stock\nbase_model: base\nmodels: [{model: one}, {model: two}, {model: three}]\n",
        "karcher": "merge_method: karcher\nmodels: [{model: one}, {model: two}, {model: three}]\n",
        "median": "merge_method: median\nmodels: [{model: one}, {model: two}, {model: three}]\n",
    }
    text = texts.get(method, LINEAR.replace("linear", method))
    spoil()
    refused(capsys, "merge", recipe(text), "out", says=rf"two: tensor '{bad}' holds -inf at \[0, 2\].*--allow-nonfinite")
    merged(capsys, text, "--allow-nonfinite")
    assert all(tensor.isfinite().all() for tensor in tensors("out").values())


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("text", [SLERP + "parameters: {t: 0.5}\n", LINEAR.replace("linear", "nuslerp")])
def test_a_path_between_two_models_needs_both(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    spoil()
    refused(capsys, "merge", recipe(text), "out", says=r"two: tensor 'model\.layers\.1\.mlp\.up_proj\.weight' holds -inf at \[0, 2\].*--allow-nonfinite")
    refused(capsys, "merge", "r.yaml", "out", "--allow-nonfinite", says=r"needs at least 2 weight sets, got 1\. Left out, because they hold NaN or Inf: '?two")


@pytest.mark.usefixtures("here")
def test_where_one_model_has_nan_the_other_decides(capsys: pytest.CaptureFixture[str]) -> None:
    spoil()
    merged(capsys, LINEAR, "--allow-nonfinite")
    name = "model.layers.1.mlp.up_proj.weight"
    one, two, out = (tensors(folder)[name] for folder in ("one", "two", "out"))
    assert same(out, torch.where(two.isfinite(), (one + two) / 2, one))


@pytest.mark.usefixtures("here")
def test_where_a_model_of_an_earlier_document_has_nan_the_other_decides(capsys: pytest.CaptureFixture[str]) -> None:
    spoil()
    text = "name: first\n" + LINEAR + "---\nmerge_method: linear\nmodels: [{model: first}, {model: three}]\nparameters: {weight: 1}\n"
    refused(capsys, "merge", recipe(text), "out", says=r"two: tensor 'model\.layers\.1\.mlp\.up_proj\.weight' holds -inf at \[0, 2\].*--allow-nonfinite")
    merged(capsys, text, "--allow-nonfinite")
    name = "model.layers.1.mlp.up_proj.weight"
    one, two, three, out = (tensors(folder)[name] for folder in ("one", "two", "three", "out"))
    assert same(out, (torch.where(two.isfinite(), (one + two) / 2, one) + three) / 2)


@pytest.mark.usefixtures("here")
def test_a_model_left_out_of_an_earlier_document_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    """Two documents on: the final one uses the second, which uses the first, where a model is left out."""
    spoil()
    shutil.copytree("three", "four")
    krum = "merge_method: krum\nmodels: [{model: base}, {model: one}, {model: two}, {model: three}, {model: four}]\nparameters: {f: 1}\n"
    text = "name: first\n" + krum + "---\nname: second\nmerge_method: passthrough\nmodels: [{model: first}]\n"
    text += "---\nmerge_method: linear\nmodels: [{model: second}, {model: one}]\nparameters: {weight: 1}\n"
    ran = merged(capsys, text, "--allow-nonfinite")
    words = r"in 'second', in 'first', two is left out of \d+ tensors: its 'model.layers.1.mlp.up_proj.weight' holds NaN or Inf"
    assert len(re.findall(f"note: {words}", ran.err)) == 1, ran.err
    assert re.search(words, Path("out/README.md").read_text())
    merged(capsys, text.replace("{model: two}, ", "").replace("f: 1", "f: 0"), out="without")
    assert all(same(value, tensors("without")[key]) for key, value in tensors("out").items())


@pytest.mark.usefixtures("here")
def test_nan_in_all_models_is_an_error_even_so(capsys: pytest.CaptureFixture[str]) -> None:
    spoil()
    change("one", **{name.replace(".", "__"): tensor for name, tensor in tensors("two").items()})
    refused(capsys, "merge", recipe(LINEAR), "out", "--allow-nonfinite", says=r"'model\.layers\.1\.mlp\.up_proj\.weight'")


@pytest.mark.usefixtures("here")
def test_inspect_and_doctor_count_nan_and_inf(capsys: pytest.CaptureFixture[str]) -> None:
    spoil()
    (fact,) = json.loads(run(capsys, "inspect", "two", "--only", "*.1.mlp.up_proj.*", "--json").out)["tensors"]
    assert (fact["nan"], fact["inf"]) == (1, 1)
    examined = run(capsys, "doctor", "two")
    assert examined.code == 1 and "NaN or Inf in 'model.layers.1.mlp.up_proj.weight (1 NaN, 1 Inf)'" in examined.out


class Evil:
    """Makes a folder when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(Path("ran").absolute()),)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("command", ["merge r.yaml out", "inspect two", "diff one two"])
@pytest.mark.parametrize("new", [True, False])
def test_code_in_a_pickle_does_not_run(command: str, new: bool, capsys: pytest.CaptureFixture[str]) -> None:
    (TWO / WEIGHTS).unlink()
    torch.save({"w": torch.ones(2), "evil": Evil()}, TWO / "pytorch_model.bin", _use_new_zipfile_serialization=new)
    recipe(LINEAR)
    refused(capsys, *command.split(), says=r"two/pytorch_model\.bin: the pickle asks for \S*mkdir.*never done")
    examined = run(capsys, "doctor", "two")
    assert examined.code == 1 and "the pickle asks for" in examined.out
    assert not Path("ran").exists()
    with suppress(RuntimeError):  # the twin: the code is live; the old format runs it and then stumbles
        torch.load(TWO / "pytorch_model.bin", weights_only=False)
    assert Path("ran").is_dir()


@pytest.mark.usefixtures("here")
def test_a_sharded_folder_of_torch_files_merges(capsys: pytest.CaptureFixture[str]) -> None:
    merged(capsys, LINEAR)
    found = load_file(TWO / WEIGHTS)
    (TWO / WEIGHTS).unlink()
    names = sorted(found)
    places = {}
    for number, held in enumerate((names[:20], names[20:]), 1):
        file = f"pytorch_model-0000{number}-of-00002.bin"
        torch.save({name: found[name] for name in held}, TWO / file)
        places |= dict.fromkeys(held, file)
    (TWO / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    merged(capsys, LINEAR, out="again")
    assert (Path("again") / WEIGHTS).read_bytes() == (Path("out") / WEIGHTS).read_bytes()


@pytest.mark.usefixtures("here")
def test_a_model_that_is_left_out_is_told_of_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    """Krum looks at whole tensors: the model with an Inf does not take part at all, which nobody would guess."""
    text = "merge_method: krum\nmodels: [{model: base}, {model: one}, {model: two}, {model: three}, {model: four}]\nparameters: {f: 1, per: layer}\n"
    name = "model.layers.1.mlp.up_proj.weight"
    spoil()
    shutil.copytree("three", "four")
    ran = merged(capsys, text, "--allow-nonfinite", "--report", "r.html")
    words = rf"two is left out of \d+ tensors: its '{re.escape(name)}' holds NaN or Inf, and they are merged by krum, which looks at whole tensors"
    assert re.search(rf"note: {words}", ran.err)
    for place in ("out/README.md", "r.html"):
        assert re.search(words.replace("'", "(?:'|&#39;)"), Path(place).read_text()), place
    merged(capsys, text.replace("{model: two}, ", "").replace("f: 1", "f: 0"), out="without")
    assert all(same(value, tensors("without")[key]) for key, value in tensors("out").items())
    again = run(capsys, "merge", recipe(text), "out", "--allow-nonfinite", "--resume")
    assert again.code == 0 and "was finished already" in again.out
