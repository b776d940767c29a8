"""LEAF's files: read as they are written, and refused where they are broken."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from loomweight.errors import BrokenFile
from loomweight.federate.partition import Natural, leaf, split

GOOD = {"users": ["b", "a"], "num_samples": [2, 1], "user_data": {"a": {"x": [[1.0, 2.0]], "y": [3]}, "b": {"x": [[0.5, 0.25], [0, 1]], "y": [1, 0]}}}


def test_users_and_their_tensors(tmp_path: Path) -> None:
    (tmp_path / "all_data_0.json").write_text(json.dumps(GOOD))
    found = leaf(tmp_path)
    assert list(found) == ["a", "b"]
    assert torch.equal(found["b"][0], torch.tensor([[0.5, 0.25], [0.0, 1.0]])) and found["b"][1].tolist() == [1, 0]
    assert found["a"][0].dtype == torch.float32 and found["a"][1].dtype == torch.int64
    assert found["a"][0].tolist() == [[1.0, 2.0]]


def test_text_goes_through_a_function(tmp_path: Path) -> None:
    file = tmp_path / "shakespeare.json"
    file.write_text(json.dumps({"users": ["hamlet"], "num_samples": [2], "user_data": {"hamlet": {"x": ["to b", "or n"], "y": ["e", "o"]}}}))
    with pytest.raises(BrokenFile, match=r"user 'hamlet': no tensor can be made of its inputs .* text needs `inputs=`, a function from a list to a tensor"):
        leaf(file)

    def codes(texts: list[str]) -> torch.Tensor:
        return torch.tensor([list(text.encode()) for text in texts])

    x, y = leaf(file, inputs=codes, labels=codes)["hamlet"]
    assert bytes(x[1].tolist()) == b"or n" and bytes(y.flatten().tolist()) == b"eo"


def edited(change: Callable[[dict], object]) -> str:
    held = json.loads(json.dumps(GOOD))
    change(held)
    return json.dumps(held)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps(GOOD)[:-9], r"one\.json is no JSON, or cut off: "),
        ("", r"is no JSON, or cut off"),
        ("[" * 100_000, r"is no JSON, or cut off"),
        ("\x00\xff", r"is no JSON, or cut off"),
        (json.dumps(GOOD).replace("0.25", "NaN"), r"cut off: NaN is no number of JSON"),
        ("[]", r"not of LEAF's form.*wrong: users, num_samples, user_data"),
        (edited(lambda held: held.pop("num_samples")), r"wrong: num_samples"),
        (edited(lambda held: held["users"].append("c")), r"list 3, 2 and 2 users, not the same ones"),
        (edited(lambda held: held.update(users=["a", "a"])), r"list 2, 2 and 2 users"),
        (edited(lambda held: held.update(users=["a", "c"])), r"list 2, 2 and 2 users"),
        (edited(lambda held: held.update(users=[["a"], "b"])), r"a user's name is a word, found \['a'\]"),
        (edited(lambda held: held.update(num_samples=[2, 7])), r"user 'a' has 1 inputs and 1 labels where num_samples says 7"),
        (edited(lambda held: held["user_data"]["b"]["y"].pop()), r"user 'b' has 2 inputs and 1 labels where num_samples says 2"),
        (edited(lambda held: held["user_data"].update(a=[])), r"user 'a' has no lists x and y"),
        (edited(lambda held: held["user_data"]["a"].pop("x")), r"user 'a' has no lists x and y"),
        (edited(lambda held: held["user_data"]["b"]["x"].__setitem__(1, [1.0])), r"user 'b': no tensor can be made of its inputs"),
        (edited(lambda held: held["user_data"]["a"].update(y=["seven"])), r"user 'a': no tensor can be made of its labels .* text needs `labels=`"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "one.json").write_text(text)
    with pytest.raises(BrokenFile, match=message):
        leaf(tmp_path / "one.json")


def test_files_that_do_not_fit_each_other(tmp_path: Path) -> None:
    with pytest.raises(BrokenFile, match=r"holds no \.json file"):
        leaf(tmp_path)
    with pytest.raises(BrokenFile, match=r"nothing\.json cannot be read: No such file"):
        leaf(tmp_path / "nothing.json")
    for name in ("one.json", "two.json"):
        (tmp_path / name).write_text(json.dumps(GOOD))
    with pytest.raises(BrokenFile, match=r"two\.json: the user 'b' is in another file of .* too"):
        leaf(tmp_path)
    (tmp_path / "two.json").unlink()
    with pytest.raises(BrokenFile, match=r"`inputs=` made 1 rows of 2 samples"):
        leaf(tmp_path, inputs=lambda values: torch.zeros(1))


@pytest.mark.slow
def test_a_data_set_like_femnist_comes_back_whole(tmp_path: Path) -> None:
    """150 writers of 28 x 28 characters of 62 classes, in files of 50 writers, as LEAF writes them; against the partition by writer."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2000, 784), generator=generator) / 255
    labels = torch.randint(0, 62, (2000,), generator=generator)
    writers = [f"f{int(number):04d}_{int(number) % 50:02d}" for number in torch.randint(0, 150, (2000,), generator=generator)]
    clients = split((images, labels), Natural.of(writers))
    names = list(clients)
    for file in range(3):
        part = names[50 * file : 50 * file + 50]
        held = {
            "users": part,
            "num_samples": [len(clients[name][1]) for name in part],
            "user_data": {name: {"x": clients[name][0].tolist(), "y": clients[name][1].tolist()} for name in part},
        }
        (tmp_path / f"all_data_{file}.json").write_text(json.dumps(held))
    found = leaf(tmp_path)
    assert list(found) == names
    assert all(torch.equal(found[name][0], x) and torch.equal(found[name][1], y) for name, (x, y) in clients.items())
    whole = (tmp_path / "all_data_1.json").read_bytes()
    for size in (0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 1):
        (tmp_path / "all_data_1.json").write_bytes(whole[:size])
        with pytest.raises(BrokenFile, match=r"all_data_1\.json is no JSON, or cut off"):
            leaf(tmp_path)
