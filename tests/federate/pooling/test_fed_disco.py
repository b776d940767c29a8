"""FedDisco: weights by hand, counts that are sent or known, and what the paper claims of skewed clients."""

from dataclasses import replace
from math import log

import pytest
import torch

from loomweight.errors import BadParameter, TooFewReplies
from loomweight.federate import FedDisco, LabelCounts, Pool, Server, Strategy, simulate
from tests.federate.small import clients, model, same

from .served import reply

COUNTS = {"a": (5.0, 5.0), "b": (10.0, 0.0)}


def test_values_by_hand() -> None:
    size, counts = torch.tensor([0.5, 0.5], dtype=torch.float64), torch.tensor(list(COUNTS.values()))
    # divergences 0 and log 2, of which b's is all: 0.5 + 0.1 and 0.5 - 0.25 + 0.1
    assert FedDisco(2, a=0.25).shares(size, counts).tolist() == pytest.approx([0.6 / 0.95, 0.35 / 0.95])
    # 0.5 - 0.5 * 1 + 0.1 = 0.1 of 0.7
    assert FedDisco(2).shares(size, counts).tolist() == pytest.approx([0.6 / 0.7, 0.1 / 0.7])
    assert FedDisco(2, a=2.0).shares(size, counts).tolist() == [1.0, 0.0]
    away = {"l1": 1.0, "l2": 0.5**0.5, "cosine": 1 - 0.5**0.5}
    for measure, value in away.items():
        assert FedDisco(2, measure=measure).discrepancies(counts).tolist() == pytest.approx([0.0, value])
    skewed = FedDisco(2, target=(3.0, 1.0)).discrepancies(counts)
    first, second = 0.5 * log(0.5 / 0.75) + 0.5 * log(0.5 / 0.25), log(1 / 0.75)
    assert skewed.tolist() == pytest.approx([first / (first + second), second / (first + second)])


def test_where_no_weight_is_left_the_examples_count() -> None:
    size, counts = torch.tensor([0.25, 0.75], dtype=torch.float64), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert FedDisco(2, a=9.0, b=0.0).shares(size, counts).tolist() == [0.25, 0.75]


def test_counts_may_be_known_or_sent() -> None:
    data = clients()
    known = {client: torch.bincount(targets, minlength=2).double().tolist() for client, (_, targets) in data.items()}
    told = simulate(model(), data, Strategy(aggregate=FedDisco(2, counts=known)), rounds=2)
    sent = simulate(model(), data, Strategy(aggregate=FedDisco(2), objective=(LabelCounts(2),)), rounds=2)
    assert same(told.weights, sent.weights) and sent.history[0]["bytes_up"] == told.history[0]["bytes_up"] + 3 * 2 * 8
    plain = simulate(model(), data, Strategy(aggregate=FedDisco(2, a=0.0, b=0.0, counts=known)), rounds=2)
    mean = simulate(model(), data, Strategy(aggregate=Pool()), rounds=2)
    for name in mean.weights:
        assert torch.allclose(plain.weights[name], mean.weights[name], atol=1e-6)  # a sum of other roundings


def test_a_reply_without_counts_is_refused_and_named() -> None:
    server = Server({"w": torch.zeros(1)}, Strategy(aggregate=FedDisco(2), objective=(LabelCounts(2),)), ["a", "b"])
    server.tasks()
    wrong = [
        reply("a", 0, [1.0]),
        reply("a", 0, [1.0], LabelCounts={"counts": torch.tensor([1, 2, 3])}),
        reply("a", 0, [1.0], LabelCounts={"counts": torch.tensor([-1, 2])}),
        reply("a", 0, [1.0], LabelCounts={"counts": torch.tensor([0, 0])}),
    ]
    assert all("2 labels; add LabelCounts(2)" in (FedDisco(2).wrong(one) or "") for one in wrong)
    refusal = server.push(wrong[0])
    assert refusal and refusal.code == "names" and "LabelCounts(2)" in refusal.words
    assert FedDisco(2, counts=COUNTS).wrong(replace(wrong[0])) is None


def test_words_for_what_does_not_fit() -> None:
    with pytest.raises(BadParameter, match=r"length 3; found 'kl', \[2\]"):
        FedDisco(3, counts=COUNTS)
    with pytest.raises(TooFewReplies, match="'c0' has labels up to 1"):
        simulate(model(), clients(), Strategy(aggregate=FedDisco(1), objective=(LabelCounts(1),)), rounds=1)
