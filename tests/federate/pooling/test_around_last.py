"""Centered clipping from history: by hand, what it is for, and its state."""

import pytest
import torch

from loomweight.federate import AroundLast, Reply, Server, Strategy, resumed, state_of_server
from loomweight.rules import CenteredClip, Mean

CLIENTS = ["a", "b", "c"]


def rounds(server: Server, sent: list[list[float]]) -> list[float]:
    found = []
    for values in sent:
        for task, value in zip(server.tasks(), values, strict=True):
            server.push(Reply(task.client, task.round, {"w": torch.tensor([value])}))
        server.close()
        found.append(server.weights["w"].item())
    return found


def test_two_rounds_by_hand() -> None:
    """tau 1: from 0, pulls of 1, 1, 1 give u = 1. Then 2, 2, 100 lie 1, 1, 99 away: pulls of 1, 1, 1 give u = 2."""
    server = Server({"w": torch.zeros(1)}, Strategy(aggregate=AroundLast(CenteredClip(tau=1.0))), CLIENTS)
    assert rounds(server, [[2.0, 2.0, 100.0], [2.0, 2.0, 100.0]]) == [1.0, 3.0]


def test_around_a_mean_it_is_the_mean() -> None:
    server = Server({"w": torch.zeros(1)}, Strategy(aggregate=AroundLast(Mean())), CLIENTS)
    assert rounds(server, [[1.0, 2.0, 3.0], [4.0, 4.0, 7.0]]) == [2.0, 7.0]


def test_history_makes_up_for_a_small_radius() -> None:
    """A radius far below the updates: without history each round goes tau far; with it, the pooled update grows until it is theirs."""
    sent = [[5.0, 5.0, -50.0]] * 30
    strategy = Strategy(aggregate=AroundLast(CenteredClip(tau=1.0)))
    with_history = rounds(Server({"w": torch.zeros(1)}, strategy, CLIENTS), sent)
    without = rounds(Server({"w": torch.zeros(1)}, Strategy(aggregate=CenteredClip(tau=1.0)), CLIENTS), sent)
    assert with_history[-1] - with_history[-2] == pytest.approx(4.5, abs=1e-4)  # weights near 100 in float32; 2 (5 - u) = 1 balances the third
    assert without[-1] - without[-2] == pytest.approx(1 / 3)


def test_the_state_goes_on_to_the_same_bits() -> None:
    strategy, sent = Strategy(aggregate=AroundLast(CenteredClip(tau=0.7))), [[1.0, 2.0, 9.0], [0.5, 2.0, -3.0], [1.0, 1.0, 4.0]]
    straight = Server({"w": torch.zeros(1)}, strategy, CLIENTS)
    expected = rounds(straight, sent)
    server = Server({"w": torch.zeros(1)}, strategy, CLIENTS)
    rounds(server, sent[:2])
    again = resumed({"w": torch.zeros(1)}, strategy, state_of_server(server))
    assert rounds(again, sent[2:]) == expected[2:]
