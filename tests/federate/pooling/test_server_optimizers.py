"""Optimizers at the server: values by hand, and what adaptivity is for."""

import pytest
import torch

from loomweight.errors import BadParameter
from loomweight.federate import Adaptive, Aggregate, Pool, ServerOptimizer, fed_adagrad, fed_adam, fed_yogi, server_momentum
from loomweight.rules import Median

from .served import pooled, reply


def after(aggregate: Aggregate, *updates: float) -> list[float]:
    """w after each round, from 0."""
    rounds = [{"a": reply("a", number, [value])} for number, value in enumerate(updates)]
    return [pooled(aggregate, {"w": torch.zeros(1)}, rounds[: n + 1]).weights["w"].item() for n in range(len(rounds))]


def test_values_by_hand() -> None:
    """tau = 0.5, so v starts at 0.25; b1 = 0.5, b2 = 0.9; updates 1 and 0.1, rate 1."""
    options = {"rate": 1.0, "tau": 0.5}
    m = [0.5, 0.5 * 0.5 + 0.5 * 0.1]
    seconds = {
        # 0.9 * 0.25 + 0.1 * 1, then 0.9 * 0.325 + 0.1 * 0.01
        "adam": (fed_adam(betas=(0.5, 0.9), **options), m, [0.325, 0.2935]),
        # 0.25 < 1, so v grows by 0.1 * 1; then 0.35 > 0.01, so it falls by 0.1 * 0.01
        "yogi": (fed_yogi(betas=(0.5, 0.9), **options), m, [0.35, 0.349]),
        # 0.25 + 1, then + 0.01, without momentum
        "adagrad": (fed_adagrad(**options), [1.0, 0.1], [1.25, 1.26]),
    }
    for aggregate, first, second in seconds.values():
        steps = [one / (two**0.5 + 0.5) for one, two in zip(first, second, strict=True)]
        assert after(aggregate, 1.0, 0.1) == pytest.approx([steps[0], steps[0] + steps[1]], rel=1e-6)  # float32
    assert after(server_momentum(momentum=0.5), 1.0, 0.1) == pytest.approx([1.0, 1.0 + 0.6], rel=1e-6)  # float32


def test_yogi_forgets_a_large_update_by_steps_and_adam_by_a_factor() -> None:
    """The paper's difference: v moves by (1 - b2) D^2 at most. With the sign turned, v would leave its own D^2 behind."""
    found = {}
    for kind in ("adam", "yogi"):
        w = torch.zeros(1, requires_grad=True)
        optimizer = Adaptive([w], lr=1.0, betas=(0.0, 0.9), tau=1e-3, kind=kind)
        for gradient in [10.0] + [0.1] * 20:
            w.grad = torch.tensor([gradient])
            optimizer.step()
        found[kind] = optimizer.state[w]["v"].item()
    assert found["yogi"] == pytest.approx(10.0 - 20 * 0.1 * 0.01, rel=1e-3)  # 0.1 * 100 from nothing, then down by 0.001 a step
    assert found["adam"] == pytest.approx(10.0 * 0.9**20 + 0.01 * (1 - 0.9**20), rel=1e-3)  # float32, and tau^2 at the start


def test_yogi_keeps_v_where_the_updates_are_of_its_size() -> None:
    w = torch.zeros(1, requires_grad=True)
    optimizer = Adaptive([w], betas=(0.0, 0.9), tau=0.1, kind="yogi")
    for _ in range(500):
        w.grad = torch.tensor([2.0])
        optimizer.step()
    assert optimizer.state[w]["v"].item() == pytest.approx(4.0, abs=0.41)  # it swings about D^2 by (1 - b2) D^2


def test_it_is_not_torch_s_adam() -> None:
    """Which starts with a step of about its rate, whatever the update; the paper's is smaller for one that tau outweighs."""
    torch_s = ServerOptimizer(lambda tensors: torch.optim.Adam(tensors, lr=1.0))
    assert after(torch_s, 0.01)[0] == pytest.approx(1.0, rel=1e-5)  # torch's eps of 1e-8
    assert after(fed_adam(rate=1.0, tau=0.1), 0.01)[0] == pytest.approx(0.1 * 0.01 / ((0.99 * 0.01 + 0.01 * 1e-4) ** 0.5 + 0.1), rel=1e-5)  # float32


@pytest.mark.parametrize("aggregate", [fed_adam(0.05), fed_yogi(0.05), fed_adagrad(0.1)], ids=["adam", "yogi", "adagrad"])
def test_badly_scaled_problems_are_learnt_where_averaging_crawls(aggregate: Aggregate) -> None:
    """|x1 - 1|^2 + 0.001 |x2 - 1|^2: the updates of x2 are a thousandth, and their scale is what is adapted to."""

    def distance(aggregate: Aggregate) -> float:
        w, scale = torch.zeros(2), torch.tensor([1.0, 1e-3])
        state = aggregate.start({"w": w})
        from loomweight.federate import Book, Reply

        for number in range(60):
            held: dict = {}
            aggregate.add(held, Reply("a", number, {"w": 0.5 * scale * (1 - w)}), {"w": w})
            moved, state = aggregate.pool({"w": w}, held, state, Book(number, ("a",)))
            w = moved["w"]
        return (w - 1).norm().item()

    assert distance(aggregate) < 0.7 < 0.95 < distance(Pool())


def test_any_rule_may_pool_below() -> None:
    replies = {client: reply(client, 0, [value]) for client, value in (("a", 1.0), ("b", 2.0), ("c", 900.0))}
    robust = pooled(server_momentum(pooled=Pool(Median())), {"w": torch.zeros(1)}, [replies])
    assert robust.weights["w"].item() == 2.0 and not server_momentum(pooled=Pool(Median())).sums


def test_numbers_that_cannot_be() -> None:
    with pytest.raises(BadParameter, match=r"tau are positive.*found 0.1, 0.0"):
        Adaptive([torch.zeros(1)], tau=0.0)
