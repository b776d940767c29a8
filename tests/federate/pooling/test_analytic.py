"""Analytic federated learning: exact, whatever the partition; the paper's law as a second formula; digits in one round."""

import numpy as np
import pytest
import torch
from torch import nn

from loomweight.errors import BadParameter, TooFewReplies
from loomweight.federate import AnalyticHead, RidgeHead, Server, Strategy, absolute, analytic, simulate

from .served import reply


def problem(count: int = 60, features: int = 10, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(count, features, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(classes, (count,), generator=generator)


def regression(inputs: torch.Tensor, labels: torch.Tensor, classes: int = 4) -> torch.Tensor:
    """numpy's, on all data."""
    return torch.from_numpy(np.linalg.lstsq(inputs.numpy(), np.eye(classes)[labels.numpy()], rcond=None)[0])


def partitions(labels: torch.Tensor) -> dict[str, list[torch.Tensor]]:
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    return {
        "alike": list(order.chunk(5)),
        "one label each": [(labels == label).nonzero()[:, 0] for label in range(4)],
        "one example each": list(order.split(1)),
        "one has nearly all": [order[:55], order[55:]],
        "one client": [order],
    }


def test_any_partition_gives_the_regression_on_all_data() -> None:
    inputs, labels = problem()
    expected = regression(inputs, labels)
    for parts in partitions(labels).values():
        for gamma in (0.1, 10.0):
            found = absolute([analytic(inputs[part], labels[part], 4, gamma) for part in parts], gamma)
            torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)  # float64; 60 times gamma is taken off again


def test_it_is_the_paper_s_law_of_two_clients() -> None:
    inputs, labels = problem()
    one, two = analytic(inputs[:25], labels[:25], 4), analytic(inputs[25:], labels[25:], 4)
    (c1, w1), (c2, w2), eye = (one["gram"], one["weight"]), (two["gram"], two["weight"]), torch.eye(10, dtype=torch.float64)
    r1, r2, both = c1.inverse(), c2.inverse(), (c1 + c2).inverse()
    law = (eye - r1 @ c2 + r1 @ c2 @ both @ c2) @ w1 + (eye - r2 @ c1 + r2 @ c1 @ both @ c1) @ w2
    torch.testing.assert_close(absolute([one, two], ridge=2.0), law, rtol=1e-8, atol=1e-10)  # float64; the law keeps the regularisation of both
    cleaned = law + 2 * (c1 + c2 - 2 * eye).inverse() @ law
    torch.testing.assert_close(absolute([one, two]), cleaned, rtol=1e-8, atol=1e-10)  # float64


def test_with_fewer_examples_than_features_it_is_the_smallest_solution() -> None:
    inputs, labels = problem(count=6)
    found = absolute([analytic(inputs[:3], labels[:3], 4), analytic(inputs[3:], labels[3:], 4)])
    torch.testing.assert_close(found, regression(inputs, labels), rtol=1e-6, atol=1e-8)  # float64, of a singular system


def test_one_round_learns_the_head_of_a_frozen_backbone_whoever_has_what() -> None:
    from sklearn.datasets import load_digits

    digits, labels = (torch.from_numpy(part) for part in load_digits(return_X_y=True))
    digits = digits.float() / 16
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(64, 60), nn.ReLU(), nn.Linear(60, 10))
    strategy = Strategy(aggregate=AnalyticHead("2"), objective=(RidgeHead("2"),), tensors={"0.*": "keep"})
    train, order = slice(0, 900), torch.randperm(900, generator=torch.Generator().manual_seed(0))
    by_label = [(labels[train] == label).nonzero()[:, 0] for label in range(10)]
    found = [simulate(model, [(digits[part], labels[part]) for part in parts], strategy, rounds=1) for parts in (by_label, order.chunk(3))]
    accuracy = (found[0].model(digits[900:]).argmax(1) == labels[900:]).double().mean()
    assert accuracy > 0.85 and torch.equal(found[0].weights["0.weight"], model[0].weight)
    for name in ("2.weight", "2.bias"):
        torch.testing.assert_close(found[0].weights[name], found[1].weights[name], rtol=1e-4, atol=1e-5)  # rounded to float32 at the end
    with torch.no_grad():
        features = torch.cat([model[:2](digits[train]).double(), torch.ones(900, 1, dtype=torch.float64)], 1)
    expected = regression(features, labels[train], 10).T
    torch.testing.assert_close(found[0].weights["2.weight"], expected[:, :-1].float(), rtol=1e-3, atol=1e-4)  # numpy solves the ill-conditioned X itself


def test_replies_without_a_regression_and_heads_that_are_none() -> None:
    weights = {"w.weight": torch.zeros(2, 3)}
    server = Server(weights, Strategy(aggregate=AnalyticHead("w"), objective=(RidgeHead("w"),)), ["a"])
    server.tasks()
    bad = reply("a", 0, [0.0])
    refusal = server.push(type(bad)("a", 0, {"w.weight": torch.zeros(2, 3)}))
    assert refusal and "regression of 3 features on 2 outputs; add RidgeHead('w')" in refusal.words
    data = [(torch.ones(4, 3), torch.zeros(4, dtype=torch.long))]
    with pytest.raises(TooFewReplies, match="'1' is no linear layer of the model; it is ReLU"):
        simulate(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), data, Strategy(objective=(RidgeHead("1"),)), 1)
    with pytest.raises(BadParameter, match=r"found \[3\]"):
        analytic(torch.ones(3), torch.ones(3, dtype=torch.long), 2)
    with pytest.raises(BadParameter, match="no client"):
        absolute([])
