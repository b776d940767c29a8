"""Just One Byte: the byte, the direction, and replicas that stay equal."""

import math
import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributed import HashStore

from loomweight.errors import BadParameter
from loomweight.federate.lowcomm import Members, OneByte
from loomweight.federate.lowcomm.one_byte import NOTHING, applied, decoded, direction, encoded, moved, projected

from .workers import batch, grouped, net, plain, same, state, together


@given(st.floats(math.exp(-7.9), math.exp(7.9)), st.booleans())
def test_a_byte_tells_the_sign_and_the_size_within_its_steps(size, negative) -> None:
    g = -size if negative else size
    byte = encoded(g)
    assert -127 <= byte <= 127
    assert math.exp(-1 / 16) * 0.999 <= decoded(byte) / g <= math.exp(1 / 16) * 1.001  # half a step of 1/8 in the logarithm


@given(st.floats())
def test_every_number_has_a_byte_and_every_byte_comes_back(g) -> None:
    byte = encoded(g)
    assert torch.tensor([byte], dtype=torch.int8).item() == byte
    assert byte == NOTHING if not math.isfinite(g) else encoded(decoded(byte)) == byte


def test_directions_are_standard_normal_and_independent_of_each_other() -> None:
    like = torch.zeros(20000)
    drawn = [direction(key, name, like) for key in ((0, "a", 0), (0, "b", 0), (0, "a", 1), (1, "a", 0)) for name in ("w", "v")]
    products = torch.stack(drawn) @ torch.stack(drawn).T / len(like)
    torch.testing.assert_close(products, torch.eye(8), rtol=0, atol=0.05)  # seven standard deviations of 1 / sqrt(20000)
    before = torch.random.get_rng_state()
    direction((0, "a", 0), "w", like)
    assert torch.random.get_rng_state().equal(before)


def test_the_projected_gradient_is_the_derivative_along_the_direction() -> None:
    model = plain()
    weights = {name: p.data for name, p in model.named_parameters()}
    before, (x, y) = state(model), batch(0, 0)
    key = (3, "a", 7)

    def loss():
        with torch.no_grad():
            return float((model.double()(x.double()) - y).square().mean())

    model.double()
    weights = {name: p.data for name, p in model.named_parameters()}
    found = projected(loss, weights, key, 1e-4)
    (model(x.double()) - y).square().mean().backward()
    expected = sum(float((p.grad * direction(key, name, p)).sum()) for name, p in model.named_parameters())
    assert found == pytest.approx(expected, rel=1e-5)  # differences of the fourth power of epsilon
    assert all(tensor.equal(before[name].double()) for name, tensor in state(model).items())


def test_a_step_is_the_mean_over_those_who_have_something_to_say() -> None:
    weights = {"w": torch.zeros(3)}
    applied(weights, 5, 2, [("a", 64), ("b", NOTHING), ("c", -64), ("d", 0)], lr=0.3)
    expected = {"w": torch.zeros(3)}
    moved(expected, (5, "a", 2), -0.1)
    moved(expected, (5, "c", 2), 0.1)
    torch.testing.assert_close(weights["w"], expected["w"])


@torch.no_grad()
def loss(model, pair):
    x, y = pair
    return float((model(x) - y).square().mean())


def test_replicas_stay_equal_and_learn_at_a_byte_a_step() -> None:
    def body(rank, group):
        model = net()
        training = OneByte(model, loss, lr=0.02, group=group)
        begun, buffers = training.peers.traffic.sent, {name: b.clone() for name, b in model.named_buffers()}
        for step in range(300):
            training.step(batch(rank, step, 32))
        assert all(b.equal(buffers[name]) for name, b in model.named_buffers())
        return state(model), training.log, training.peers.traffic.sent - begun

    found = grouped(3, body)
    assert all(same(weights, found[0][0]) and log == found[0][1] for weights, log, _ in found)
    assert found[0][2] == 2 * (300 + 8 * (300 // 16))  # a byte to each of two others; every sixteenth step 8 bytes about newcomers
    late = net()
    replay = OneByte(late, loss, lr=0.02, group=Members(HashStore(), "late", dead_after=1.0))
    replay.replay(found[0][1])
    assert same(state(late), found[0][0])

    def error(weights):
        model = net()
        model.load_state_dict(weights)
        return sum(loss(model, batch(9, step, 64)) for step in range(4))

    assert error(found[0][0]) < 0.5 * error(net().state_dict())


def test_a_latecomer_replays_the_log_and_a_dead_one_is_no_loss() -> None:
    store, began = HashStore(), threading.Event()

    def body(name):
        if name == "late":
            assert began.wait(20)
        members = Members(store, name, wished=1 if name == "late" else 2, timeout=20.0, dead_after=1.0)
        model = plain()
        training = OneByte(model, loss, lr=0.01, group=members)
        while training.rounds < 200:
            if name == "b" and training.rounds == 20:
                members.heart.stop()
                members.line.group = members.line = None
                return None
            training.step(batch(len(name), training.rounds))
            if training.rounds > 40:
                began.set()
        members.leave()
        return state(model), [entry["lost"] for entry in members.history], training.log

    (first, lost, log), _, (late, _, late_log) = together([lambda name=name: body(name) for name in ("a", "b", "late")])
    assert same(first, late) and log == late_log and lost == [[], ["b"], []]
    assert set(log[10]) == {"a", "b"} and set(log[30]) == {"a"} and set(log[-1]) == {"a", "late"}


def test_other_weights_are_refused_and_nan_says_nothing() -> None:
    def other(rank, group):
        with pytest.raises(BadParameter, match="process 1 has another model or other settings"):
            OneByte(plain(seed=rank), loss, lr=0.1, group=group)

    def sick(rank, group):
        model = plain()
        training = OneByte(model, lambda model, pair: float("nan") if rank else loss(model, pair), lr=0.1, group=group)
        training.step(batch(rank, 0))
        return training.log[0]["1"], all(p.isfinite().all() for p in model.parameters())

    grouped(2, other)
    assert grouped(2, sick) == [(NOTHING, True)] * 2
    with pytest.raises(BadParameter, match="lr and epsilon are positive"):
        OneByte(plain(), loss, lr=0.0)
