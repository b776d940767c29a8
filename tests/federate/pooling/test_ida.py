"""IDA: the rule it is made of, accuracies by hand, and the outlier that counts less."""

import pytest
import torch

from loomweight.federate import IDA, Pool, Strategy, TrainingAccuracy, simulate
from loomweight.rules import InverseDistance
from tests.federate.small import clients, model

from .served import one_round, pooled, reply


def test_without_accuracies_it_is_the_rule() -> None:
    generator = torch.Generator().manual_seed(0)
    updates = {client: torch.randn(6, generator=generator).tolist() for client in "abcde"}
    counts = {client: 1.0 + i for i, client in enumerate("abcde")}
    for counted in (True, False):
        found = one_round(IDA(counts=counted), updates, counts)
        assert torch.allclose(found, one_round(Pool(InverseDistance(), counts=counted), updates, counts), atol=1e-6)  # float32 sums


def test_values_by_hand() -> None:
    """Updates 0, 2, 7 of mean 3: shares 1/3, 1, 1/4; with accuracies 1, 0.5 and 0.05 (counted as 0.1) they are 1/3, 2, 10/4."""
    accuracies = {"a": 1.0, "b": 0.5, "c": 0.05}
    replies = {c: reply(c, 0, [value], TrainingAccuracy={"accuracy": torch.tensor(accuracies[c])}) for c, value in (("a", 0.0), ("b", 2.0), ("c", 7.0))}
    server = pooled(IDA(accuracy=True), {"w": torch.zeros(1)}, [replies], (TrainingAccuracy(),))
    assert server.weights["w"].item() == pytest.approx((2 * 2 + 2.5 * 7) / (1 / 3 + 2 + 2.5))


def test_who_is_the_mean_has_everything() -> None:
    assert one_round(IDA(), {"a": [0.0], "b": [1.0], "c": [2.0]}).item() == 1.0


def test_an_outlier_counts_less_than_in_the_mean() -> None:
    updates = {**{f"c{i}": [1.0 + 0.1 * i, 1.0] for i in range(5)}, "far": [100.0, -100.0]}
    assert one_round(IDA(), updates)[0] < 0.4 * one_round(Pool(), updates)[0]


def test_clients_send_their_accuracy_and_those_who_do_not_are_refused() -> None:
    strategy = Strategy(aggregate=IDA(accuracy=True), objective=(TrainingAccuracy(),))
    assert simulate(model(), clients(), strategy, rounds=1).history[0]["pooled"] == 3
    assert "TrainingAccuracy()" in (IDA(accuracy=True).wrong(reply("a", 0, [1.0])) or "")
    assert IDA(accuracy=True).wrong(reply("a", 0, [1.0], TrainingAccuracy={"accuracy": torch.tensor(7.0)}))


def test_the_accuracy_is_that_of_the_trained_model() -> None:
    from loomweight.federate import Trainer

    trainer = Trainer(model(), Strategy(objective=(TrainingAccuracy(),)))
    from loomweight.federate import Task

    inputs, targets = clients()["c0"]
    answer, _ = trainer((inputs, targets), Task("c0", 0, trainer.travelling()), {})
    expected = (trainer.model(inputs).argmax(1) == targets).double().mean().item()
    assert answer.extra["TrainingAccuracy"]["accuracy"].item() == expected and trainer.model.training
