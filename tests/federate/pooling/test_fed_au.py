"""FedAU: weights by hand, the cutoff, and the right optimum where averaging leans to the diligent."""

import numpy as np
import pytest
import torch

from loomweight.errors import BadParameter
from loomweight.federate import Aggregate, Book, FedAU, Pool, Reply
from loomweight.federate.plain import Plain

from .served import pooled, reply


def test_values_by_hand() -> None:
    """b answers in rounds 0, 3 and 4: intervals 1, 3, 1. Its weights are 1 (none yet), 1, (1 + 3) / 2; each divided by 3 clients."""
    answers = [("a", "b"), ("a",), ("a",), ("a", "b"), ("a", "b")]
    moved = []
    for end in range(1, 6):
        rounds = [{c: reply(c, number, [1.0, 0.0] if c == "a" else [0.0, 1.0]) for c in who} for number, who in enumerate(answers[:end])]
        moved.append(pooled(FedAU(), {"w": torch.zeros(2)}, rounds, clients=["a", "b", "c"]).weights["w"])
    assert moved[-1].tolist() == pytest.approx([5 / 3, (1 + 1 + 2) / 3])
    assert moved[3].tolist() == pytest.approx([4 / 3, 2 / 3])


def test_a_long_silence_counts_as_several_of_the_cutoff() -> None:
    """K = 2; silent in rounds 0 to 4, which ends two intervals of 2: the weight in round 5 is 2, and not 1 as for a newcomer."""
    quiet = [{"a": reply("a", number, [0.0])} for number in range(5)]
    loud = [{"a": reply("a", 5, [0.0]), "b": reply("b", 5, [1.0])}]
    server = pooled(FedAU(cutoff=2), {"w": torch.zeros(1)}, [*quiet, *loud], clients=["a", "b"])
    assert server.weights["w"].item() == pytest.approx(2 / 2)
    assert server.pooling["count"]["b"] == 3 and server.pooling["total"]["b"] == 2 + 2 + 2  # the rest, 5 - 4 = 1 round of silence, and the answer


def fixed_point(aggregate: Aggregate, probabilities: tuple[float, ...], rounds: int = 1500) -> float:
    """Where gradient descent with a falling rate ends: client i minimises (x - i)^2 / 2, and answers with its own probability."""
    draw, x = np.random.default_rng(3), torch.zeros(1, dtype=torch.float64)
    state: Plain = aggregate.start({"x": x})
    names = tuple(str(i) for i in range(len(probabilities)))
    for number in range(rounds):
        there = [i for i in range(len(names)) if draw.random() < probabilities[i]]
        held = aggregate.begin(state)
        for i in there:
            aggregate.add(held, Reply(names[i], number, {"x": (2.0 / (number + 20)) * (i - x)}), {"x": x})
        if there:
            moved, state = aggregate.pool({"x": x}, held, state, Book(number, names))
            x = moved["x"]
    return x.item()


def test_it_finds_the_optimum_of_all_clients_and_averaging_does_not() -> None:
    """The mean of 0, 1, 2, 3 is 1.5. Averaging who answers leans to the client at 0, which answers 0.9 of the time and the others 0.1."""
    probabilities = (0.9, 0.1, 0.1, 0.1)
    assert abs(fixed_point(Pool(counts=False), probabilities) - 1.5) > 0.8
    assert abs(fixed_point(FedAU(), probabilities) - 1.5) < 0.15


def test_one_model_is_kept_whatever_comes() -> None:
    from loomweight.federate import Server, Strategy

    server = Server({"w": torch.zeros(1)}, Strategy(aggregate=FedAU()), ["a", "b"])
    for task in server.tasks():
        server.push(reply(task.client, 0, [1.0]))
    assert set(server.held) == {"sum", "weights", "last", "total", "count"} and server.pooling["last"] == {}


def test_clients_that_all_answer_are_averaged() -> None:
    rounds = [{c: reply(c, number, [float(i)]) for i, c in enumerate("abc")} for number in range(3)]
    assert pooled(FedAU(), {"w": torch.zeros(1)}, rounds).weights["w"].item() == pytest.approx(3.0)


def test_a_cutoff_is_a_number_of_rounds() -> None:
    with pytest.raises(BadParameter, match="cutoff is at least 1, found 0"):
        FedAU(cutoff=0)
