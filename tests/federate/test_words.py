"""Parts of a strategy in words: every part's repr can be given back, and a mistake gets a message."""

from pathlib import Path

import pytest
import torch

from loomweight import federate
from loomweight.edits import Clip, Trim
from loomweight.edits.edit import Edit
from loomweight.errors import BadParameter, BrokenFile, UnknownName
from loomweight.federate import Aggregate, Guard, Pool, Sample, ServerOptimizer
from loomweight.federate.messages import Message
from loomweight.federate.spoken import Spoken
from loomweight.federate.words import part
from loomweight.rules import Krum, Median, NearestNeighbourMixing, Rule, TrimmedMean

KINDS = (Aggregate, Rule)


@pytest.mark.parametrize(
    "thing", [Krum(2), Median(), TrimmedMean(f=3), NearestNeighbourMixing(TrimmedMean(f=2), f=2), Median(weights=(1.0, 2.0)), Pool(Median(), rate=0.5)]
)
def test_what_repr_shows_can_be_given_back(thing: Aggregate | Rule) -> None:
    assert part(repr(thing), KINDS, "an aggregate") == thing


def test_names_may_be_written_as_users_write_them() -> None:
    for words in ("trimmed_mean(f=2)", "TrimmedMean(2)", "trimmedmean(f=2)"):
        assert part(words, KINDS, "an aggregate") == TrimmedMean(f=2)
    assert part("sample(0.1)", (federate.Choose,), "a choice") == Sample(0.1)
    assert part("trim(0.1)", (Message, Edit), "a part of the message") == Trim(0.1)


def test_an_optimizer_is_torch_s() -> None:
    found = part("server_optimizer(sgd(lr=1.0, momentum=0.9))", KINDS, "an aggregate")
    made = found.optimizer([torch.zeros(1, requires_grad=True)])
    assert isinstance(found, ServerOptimizer) and isinstance(made, torch.optim.SGD) and made.defaults["momentum"] == 0.9


@pytest.mark.parametrize(
    ("words", "error", "told"),
    [
        ("krumm(f=2)", UnknownName, "no aggregate named 'krumm'; nearest: 'krum'"),
        ("trim(0.1)", UnknownName, "no aggregate named 'trim'"),
        ("krum(g=2)", BadParameter, "unexpected keyword argument 'g'"),
        ("krum(f='two')", BadParameter, "f is int, found 'two'"),
        ("krum(f=True)", BadParameter, "f is int, found True"),
        ("krum(", BadParameter, "cannot be read as an aggregate"),
        ("", BadParameter, "cannot be read as an aggregate"),
        ("__import__('os').system('true')", BadParameter, "is no number, word, list or part"),
        ("simulate(1)", UnknownName, "no aggregate named 'simulate'"),
        ("krum(**{'f': 2})", BadParameter, "is no number, word, list or part"),
        ("trimmed_mean(f=-1)", BadParameter, "f must be at least 0"),
    ],
)
def test_a_mistake_gets_a_message(words: str, error: type[Exception], told: str) -> None:
    with pytest.raises(error) as caught:
        part(words, KINDS, "an aggregate")
    assert told in str(caught.value)


def test_a_file_says_a_whole_strategy(tmp_path: Path) -> None:
    file = tmp_path / "strategy.yaml"
    file.write_text(
        "aggregate: krum(f=1)\nmessage: [trim(0.1), clip(1.0)]\nchoose: sample(4)\nepochs: 2\nrate: 0.5\nguard: {few: skip}\ntensors: {'*.bias': local}\n"
    )
    found = Spoken.read(file).strategy()
    assert found.pooling == Pool(Krum(1)) and found.choose == Sample(4) and found.local.epochs == 2 and found.guard == Guard(few="skip")
    assert [part.edit for part in found.parts] == [Trim(0.1), Clip(1.0)] and found.tensors == {"*.bias": "local"}


@pytest.mark.parametrize(
    ("text", "error", "told"),
    [
        ("agregate: mean", UnknownName, "nearest: 'aggregate'"),
        ("epochs: two", BadParameter, "epochs cannot be 'two'"),
        ("rate: -1", BadParameter, "above 0"),
        ("guard: {fewe: 1}", UnknownName, "nearest: 'few'"),
        ("optimizer: adamm", UnknownName, "nearest: 'adam'"),
        ("- mean", BrokenFile, "no strategy"),
        ("a: [", BrokenFile, "cannot be read as a strategy"),
    ],
)
def test_a_wrong_file_gets_a_message(text: str, error: type[Exception], told: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(error) as caught:
        Spoken.read(tmp_path / "s.yaml").strategy()
    assert told in str(caught.value)
