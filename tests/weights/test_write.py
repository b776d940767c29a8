"""What is written: files that every reader of safetensors takes, the same bytes per tensor whatever the way."""

import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import jaxtyping
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, load_model, save_file
from torch import Tensor, nn

import loomweight as lw
from loomweight.engines import Inline, Threads
from loomweight.errors import BadParameter, OutputError, Overflow, UnknownName
from loomweight.weights import Output, write
from loomweight.weights.segments import SEGMENT

from .sets_to_write import DTYPES, bits, noise, small_grid, state_dicts, written


@given(tensors=state_dicts())
def test_one_file_is_byte_for_byte_what_safetensors_writes(tensors: dict[str, Tensor]) -> None:
    with TemporaryDirectory() as folder, small_grid():
        save_file(tensors, f"{folder}/theirs.safetensors", metadata={"format": "pt"})
        ours = lw.save(tensors, f"{folder}/ours.safetensors")
        assert ours.read_bytes() == Path(folder, "theirs.safetensors").read_bytes()


@settings(max_examples=60)
@given(tensors=state_dicts(), shard_size=st.integers(1, 400), threads=st.sampled_from([1, 2, 8]), backwards=st.booleans())
def test_bytes_depend_on_nothing_but_the_tensor(tensors: dict[str, Tensor], shard_size: int, threads: int, backwards: bool) -> None:
    given_ = dict(reversed(tensors.items())) if backwards else tensors
    with TemporaryDirectory() as folder, small_grid(), Threads(threads):
        path = lw.save(given_, f"{folder}/out", shard_size=shard_size)
        assert written(path) == {name: bits(tensor) for name, tensor in tensors.items()}
        sizes = [sum(tensor.nbytes for tensor in load_file(file).values()) for file in path.glob("*.safetensors")]
        assert all(size <= shard_size for size in sizes) or max(t.nbytes for t in tensors.values()) > shard_size
        again = lw.load(path)
        assert {name: bits(again[name]) for name in again} == {name: bits(tensor) for name, tensor in tensors.items()}


def test_a_tensor_of_several_real_segments(tmp_path: Path) -> None:
    big = noise((3 * SEGMENT + 5,), torch.uint8, 1)
    with Threads(2):
        path = lw.save({"big": big, "small": torch.ones(3)}, tmp_path / "out")
    assert torch.equal(load_file(path / "model.safetensors")["big"], big)


def test_every_dtype_starts_at_a_multiple_of_its_size(tmp_path: Path) -> None:
    tensors = {f"{dtype}{i}": noise((3,), dtype, i) for i in range(2) for dtype in DTYPES}
    raw = lw.save(tensors, tmp_path / "out.safetensors").read_bytes()
    data = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:data])
    assert data % 8 == 0
    for name, tensor in tensors.items():
        start, stop = header[name]["data_offsets"]
        assert start % tensor.dtype.itemsize == 0
        assert raw[data + start : data + stop] == bits(tensor)


def test_packed_four_bit_floats_round_trip(tmp_path: Path) -> None:
    four = noise((2, 3), torch.uint8, 1).view(torch.float4_e2m1fn_x2)
    again = lw.load(lw.save({"w": four}, tmp_path / "out.safetensors"))
    assert again.spec["w"] == lw.Spec((2, 3), torch.float4_e2m1fn_x2)
    assert bits(again["w"]) == bits(four)


@pytest.mark.parametrize("block", [lambda t: t[::3], lambda t: t[:30:3].clone().requires_grad_(), lambda t: t[:1].expand(10), lambda t: t[::7][:1].expand(10)])
def test_blocks_of_any_layout_in_memory(tmp_path: Path, block) -> None:
    entries = block(torch.arange(30.0))
    weights = lw.Weights({"w": lw.Spec((10,), torch.float32)}, lambda name: lambda lo, hi: entries[lo:hi])
    with small_grid(block=1, segment=1):
        assert torch.equal(load_file(lw.save(weights, tmp_path / "out.safetensors"))["w"], entries)


def test_inputs_are_left_alone(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(50), "b": torch.arange(9)}
    before = {name: bits(tensor) for name, tensor in tensors.items()}
    lw.save(tensors, tmp_path / "out", dtype="float16")
    assert {name: bits(tensor) for name, tensor in tensors.items()} == before


@pytest.mark.parametrize("engine", [Inline(), Threads(1), Threads(8)], ids=repr)
def test_each_tensor_is_opened_once_and_every_entry_read_once(tmp_path: Path, engine) -> None:
    tensors = {"a": torch.randn(50), "b": torch.randn(13), "c": torch.randn(2), "d": torch.randn(())}
    opened, read = Counter[str](), Counter[str]()

    def open_(name: str):
        opened[name] += 1
        return lambda lo, hi: read.update({name: hi - lo}) or tensors[name].reshape(-1)[lo:hi]

    weights = lw.Weights({name: lw.Spec(tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}, open_)
    with small_grid(), engine:
        lw.save(weights, tmp_path / "out")
    assert opened == dict.fromkeys(tensors, 1)
    assert read == {name: tensor.numel() for name, tensor in tensors.items()}


def test_floats_are_rounded_once_and_integers_kept(tmp_path: Path) -> None:
    tensors = {"w": torch.randn(99), "n": torch.arange(5), "flag": torch.tensor([True, False])}
    stored = load_file(lw.save(tensors, tmp_path / "out.safetensors", dtype=torch.bfloat16))
    assert torch.equal(stored["w"], tensors["w"].bfloat16())
    assert torch.equal(stored["n"], tensors["n"]) and torch.equal(stored["flag"], tensors["flag"])


@pytest.mark.parametrize(
    ("dtype", "error", "words"), [("bfloat61", UnknownName, "nearest: 'bfloat16'"), ("int8", UnknownName, "no floating dtype named 'int8'")]
)
def test_a_dtype_that_cannot_be(tmp_path: Path, dtype, error, words) -> None:
    with pytest.raises(error, match=words):
        lw.save({"w": torch.ones(1)}, tmp_path / "out", dtype=dtype)
    assert not list(tmp_path.iterdir())


def test_a_value_that_does_not_fit_names_its_tensor_and_leaves_nothing(tmp_path: Path) -> None:
    tensors = {"a": torch.ones(100), "huge": torch.tensor([1e6])}
    with pytest.raises(Overflow, match="tensor 'huge' holds 1e\\+06"):
        lw.save(tensors, tmp_path / "new" / "out", dtype="float16")
    assert not list(tmp_path.iterdir())


def test_a_block_of_the_wrong_length_never_lands_on_its_neighbour(tmp_path: Path) -> None:
    weights = lw.Weights({"w": lw.Spec((10,), torch.float32)}, lambda name: lambda lo, hi: torch.zeros(hi - lo + 1))
    with pytest.raises(AssertionError, match="'w': entries 0 to 10 came as 44 bytes"):
        lw.save(weights, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_tied_tensors_are_written_once_and_restored(tmp_path: Path) -> None:
    model = nn.ModuleDict({"embed": nn.Embedding(6, 4), "head": nn.Linear(4, 6, bias=False)})
    model["head"].weight = model["embed"].weight  # type: ignore[assignment]
    path = lw.save(model, tmp_path / "out.safetensors")
    assert path.stat().st_size < 4 * 24 + 300
    assert dict(lw.load(path).ties) == dict(lw.load(model).ties) != {}
    other = nn.ModuleDict({"embed": nn.Embedding(6, 4), "head": nn.Linear(4, 6, bias=False)})
    other["head"].weight = other["embed"].weight  # type: ignore[assignment]
    assert load_model(other, path) == (set(), [])
    assert torch.equal(other["embed"].weight, model["embed"].weight)  # type: ignore[arg-type]


@pytest.mark.parametrize("tied", [False, True])
def test_a_folder_loads_with_from_pretrained(tmp_path: Path, tied: bool) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=64, tie_word_embeddings=tied
    )
    model = transformers.LlamaForCausalLM(config).eval()
    write(model, Output(tmp_path / "out", shard_size="20KB", files={"config.json": config.to_json_string().encode()}))
    assert len(list((tmp_path / "out").glob("*.safetensors"))) > 1
    again, info = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info.values())
    ids = torch.arange(9)[None]
    assert torch.equal(again.eval()(ids).logits, model(ids).logits)


def test_side_files_lie_in_the_folder(tmp_path: Path) -> None:
    path = write({"w": torch.ones(1)}, Output(tmp_path / "out", files={"config.json": b"{}", "1_Pooling/config.json": b"[]", "empty": b""}))
    assert {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file() and file.suffix != ".safetensors"} == {
        "config.json": b"{}",
        "1_Pooling/config.json": b"[]",
        "empty": b"",
    }


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "", ".", "a\\x", "model.safetensors", "./Model.safetensors", "model.safetensors.index.json"])
def test_side_files_neither_escape_nor_hide_weights(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadParameter, match="side file"):
        write({"w": torch.ones(1)}, Output(tmp_path / "out", files={name: b"x"}))
    assert not list(tmp_path.iterdir())


def test_one_file_has_no_room_for_side_files(tmp_path: Path) -> None:
    with pytest.raises(BadParameter, match=r"x.safetensors is one file, which cannot hold 'config.json' too; name a folder"):
        write({"w": torch.ones(1)}, Output(tmp_path / "x.safetensors", files={"config.json": b"{}"}))


@pytest.mark.parametrize(
    ("metadata", "words"),
    [({"step": 3}, "'step': 3 \\(int\\)"), ({"w": "x"}, "would read as a shared tensor"), ({"x": "w"}, "would read as a shared tensor")],
)
def test_metadata_that_cannot_be(tmp_path: Path, monkeypatch, metadata, words) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # a user has no beartype
    with pytest.raises(BadParameter, match=words):
        write({"w": torch.ones(1)}, Output(tmp_path / "out", metadata=metadata))


def test_metadata_are_in_every_shard(tmp_path: Path) -> None:
    path = lw.save({"a": torch.ones(2), "b": torch.ones(2)}, tmp_path / "out", shard_size=8, metadata={"made by": "a test"})
    for file in path.glob("*.safetensors"):
        raw = file.read_bytes()
        assert json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])["__metadata__"] == {"format": "pt", "made by": "a test"}


def test_what_the_format_cannot_hold_is_refused_before_data_is_read(tmp_path: Path) -> None:
    def open_(name: str):
        raise AssertionError("data was read")

    with pytest.raises(OutputError, match=r"no code for the dtype of 'z' \(torch.complex128\)"):
        lw.save(lw.Weights({"z": lw.Spec((1,), torch.complex128)}, open_), tmp_path / "out")
    with pytest.raises(BadParameter, match="'__metadata__'"):
        lw.save(lw.Weights({"__metadata__": lw.Spec((1,), torch.float32)}, open_), tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", ["5 parsecs", "", "GB", 0, -3, "1.2.3GB", "0.1"])
def test_a_shard_size_that_cannot_be(tmp_path: Path, size) -> None:
    with pytest.raises(BadParameter, match="a shard size is a positive number of bytes"):
        lw.save({"w": torch.ones(1)}, tmp_path / "out", shard_size=size)


def test_progress_grows_from_nothing_to_all(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    with small_grid():
        write({"a": torch.ones(30), "b": torch.ones(5)}, Output(tmp_path / "out"), progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 140) and seen[-1] == (140, 140)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_an_empty_set_is_a_valid_file(tmp_path: Path) -> None:
    assert load_file(lw.save({}, tmp_path / "out.safetensors")) == {}
