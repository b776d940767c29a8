"""DeDLOC: one step for a batch that many peers have filled, and who reduces what."""

import itertools
import threading
import time

import pytest
import torch
from torch.distributed import HashStore

from loomweight.errors import BadParameter, NonFinite, TooFewSets
from loomweight.federate.lowcomm import InParts, Members, TargetBatch, bandwidth_shares
from loomweight.federate.lowcomm.line import Line, Traffic

from .workers import batch, grouped, net, plain, same, state, together

SIZES = [4, 7, 1]


def alone(steps, micro):
    """One process on all the samples at once."""
    model = plain()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    for step in range(steps):
        optimizer.zero_grad()
        pairs = [batch(rank, 10 * step + i, SIZES[rank]) for rank in range(3) for i in range(micro[rank])]
        x, y = (torch.cat(parts) for parts in zip(*pairs, strict=True))
        (model(x) - y).square().mean().backward()
        optimizer.step()
    return state(model)


@pytest.mark.parametrize("parts", [False, True], ids=["sum", "in parts"])
def test_it_is_training_with_one_large_batch(parts) -> None:
    """Peers with micro-batches of 4, 7 and 1 samples, two to four of them a step: 3 x 4 + 2 x 7 + 4 x 1 = 30 samples."""
    micro, store, together_ = [3, 2, 4], HashStore(), threading.Barrier(3)
    shares = bandwidth_shares([1.0, 2.0, 8.0], [1.0, 2.0, 8.0])

    class InStep:
        """A store that tells a peer's last number of a step when everyone's has come."""

        def __init__(self, often):
            self.often, self.calls = often, 0

        def add(self, key, samples):
            store.add(key, samples)
            self.calls += 1
            if self.calls % self.often == 0:
                together_.wait(20)
            return store.add(key, 0)

    def body(rank, group):
        model = plain(seed=rank)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
        swarm = TargetBatch(model, optimizer, 30, InStep(micro[rank]), group, reduce=InParts(shares) if parts else Line.sum)
        for step in range(3):
            for i in range(micro[rank]):
                x, y = batch(rank, 10 * step + i, SIZES[rank])
                (model(x) - y).square().mean().backward()
                assert swarm.add(SIZES[rank]) == (i == micro[rank] - 1)
            assert swarm.samples == 30
        return state(model), swarm.rounds

    found = grouped(3, body)
    assert all(same(weights, found[0][0]) and rounds == 3 for weights, rounds in found)
    for name, tensor in alone(3, micro).items():
        torch.testing.assert_close(found[0][0][name], tensor, rtol=1e-5, atol=1e-6)  # sums in another order


def test_peers_of_any_speed_go_through_the_same_steps() -> None:
    """The slow one gives few samples and takes all steps; each step has at least the target, and no more than one micro-batch of each above it."""
    store = HashStore()

    def body(rank, group):
        model = net()
        swarm = TargetBatch(model, torch.optim.SGD(model.parameters(), lr=0.05), 40, store, group)
        given, sizes = 0, []
        for step in itertools.count():
            time.sleep([0.001, 0.02][rank])
            x, y = batch(rank, step, 4)
            (model(x) - y).square().mean().backward()
            given += 4
            if swarm.add(4):
                sizes.append(swarm.samples)
            if swarm.rounds == 5:
                break
        return state(model), given, sizes

    (quick, many, sizes), (slow, few, others) = grouped(2, body)
    assert same(quick, slow) and sizes == others
    assert all(40 <= size <= 44 + 4 for size in sizes) and many > 2 * few and sum(sizes) == many + few


def test_nan_is_refused_or_dropped_and_named() -> None:
    def body(rank, group, nonfinite, store, spoilt=(1,)):
        model = plain()
        swarm = TargetBatch(model, torch.optim.SGD(model.parameters(), lr=0.1), 1, store, group, nonfinite=nonfinite)
        x, y = batch(rank, 0)
        (model(x) - y).square().mean().backward()
        if rank in spoilt:
            model[0].bias.grad[1] = float("inf")
        swarm.add(8)
        return state(model), swarm.dropped, swarm.samples

    store = HashStore()
    found = grouped(2, lambda rank, group: body(rank, group, "drop", store))
    expected = plain()
    optimizer = torch.optim.SGD(expected.parameters(), lr=0.1)
    x, y = batch(0, 0)
    (expected(x) - y).square().mean().backward()
    optimizer.step()
    for weights, dropped, samples in found:
        assert dropped == [{"round": 0, "worker": "1", "tensor": "0.bias"}] and samples == 8
        for name, tensor in state(expected).items():
            torch.testing.assert_close(weights[name], tensor)

    def refused(rank, group):
        with pytest.raises(NonFinite, match=r"the gradient of peer 1 holds NaN or Inf in tensor '0\.bias'; mend it, or leave such peers out"):
            body(rank, group, "raise", stores[0])

    def nobody(rank, group):
        with pytest.raises(TooFewSets, match="no peer has a sound gradient"):
            body(rank, group, "drop", stores[1], spoilt=(0, 1))

    stores = [HashStore(), HashStore()]
    grouped(2, refused)
    grouped(2, nobody)
    with pytest.raises(BadParameter, match="target is a number of samples"):
        TargetBatch(plain(), torch.optim.SGD(plain().parameters(), lr=0.1), 0, HashStore())


def test_a_peer_dies_and_another_comes() -> None:
    store, began = HashStore(), threading.Event()

    def body(name):
        if name == "late":
            assert began.wait(20)
        members = Members(store, name, wished=1 if name == "late" else 2, timeout=20.0, dead_after=1.0)
        model = plain(seed=len(name))
        swarm = TargetBatch(model, torch.optim.AdamW(model.parameters(), lr=0.01), 24, store, members)
        for step in itertools.count():
            if name == "b" and swarm.rounds == 3:
                members.heart.stop()
                members.line.group = members.line = None
                return None
            x, y = batch(len(name), step)
            (model(x) - y).square().mean().backward()
            swarm.add(8)
            time.sleep(0.002)
            if swarm.rounds >= 5:
                began.set()
            if swarm.rounds >= 60:
                break
        members.leave()
        return state(model), [entry["lost"] for entry in members.history]

    (first, lost), _, (late, _) = together([lambda name=name: body(name) for name in ("a", "b", "late")])
    assert same(first, late) and lost == [[], ["b"], []]


def moved(shares, contributes, i):
    """Entries that peer i sends, counted message by message."""
    n = len(shares)
    to_reducers = sum(shares[j] for j in range(n) if j != i) if contributes[i] else 0.0
    return to_reducers + sum(shares[i] for j in range(n) if j != i and contributes[j])


@pytest.mark.parametrize(
    ("bandwidth", "contributes"),
    [([1, 1, 1, 1], [True] * 4), ([1, 2, 4, 8], [True] * 4), ([1, 5, 1, 3, 3], [True, True, True, True, False]), ([1, 1, 1, 3], [True, True, True, False])],
)
def test_no_other_shares_are_faster(bandwidth, contributes) -> None:
    """Against all shares on a grid, with traffic counted message by message."""
    found = bandwidth_shares(bandwidth, bandwidth, contributes)

    def time_of(shares):
        return max(moved(shares, contributes, i) / bandwidth[i] for i in range(len(bandwidth)))

    assert sum(found.shares) == pytest.approx(1)
    assert time_of(found.shares) == pytest.approx(found.time, rel=1e-5)  # the solver's precision
    grid = [shares for shares in itertools.product(range(9), repeat=len(bandwidth)) if sum(shares) == 8]
    assert found.time <= min(time_of([share / 8 for share in shares]) for shares in grid) + 1e-6  # the solver is no more exact


def test_all_reduce_and_parameter_server_are_special_cases() -> None:
    assert bandwidth_shares([3.0] * 5, [3.0] * 5).shares == pytest.approx([0.2] * 5)
    assert bandwidth_shares([3.0] * 2, [3.0] * 2).shares == pytest.approx([0.5] * 2)
    server = bandwidth_shares([1.0] * 4 + [100.0], [1.0] * 4 + [100.0], [True] * 4 + [False])
    assert server.shares == pytest.approx([0, 0, 0, 0, 1]) and server.time == pytest.approx(1)
    assert bandwidth_shares([1.0] * 3, [1.0] * 3, serves=[False, True, True]).shares == pytest.approx([0, 0.5, 0.5])
    slow_up = bandwidth_shares([1.0, 4.0, 4.0, 4.0], [4.0] * 4).shares
    assert slow_up[0] < slow_up[1] == pytest.approx(slow_up[2])


def test_partitions_that_make_no_sense_are_refused() -> None:
    with pytest.raises(BadParameter, match="bandwidths are positive"):
        bandwidth_shares([1.0, 0.0], [1.0, 1.0])
    for settings in ({"contributes": [False, False]}, {"serves": [False, False]}, {"serves": [True]}):
        with pytest.raises(BadParameter, match="one entry a peer, and somebody contributes and serves"):
            bandwidth_shares([1.0, 1.0], [1.0, 1.0], **settings)


def test_sums_in_parts_are_sums_and_cost_what_the_program_says() -> None:
    found_shares = bandwidth_shares([1.0, 2.0, 4.0, 9.0], [1.0, 2.0, 4.0, 9.0], [True, True, True, False])
    values = [torch.arange(1000.0) * (rank + 1) for rank in range(4)]

    def body(rank, group):
        traffic = Traffic()
        line = Line(group, tuple("abcd"), traffic)
        mine = values[rank].clone()
        InParts(found_shares, [True, True, True, False])(line, mine)
        with pytest.raises(BadParameter, match="the shares are for 2 processes, the group has 4"):
            InParts(bandwidth_shares([1.0, 1.0], [1.0, 1.0]))(line, mine)
        return mine, traffic

    for rank, (total, traffic) in enumerate(grouped(4, body)):
        assert total.equal(values[0] * 6 if rank < 3 else values[3])
        expected = 4 * 1000 * moved(found_shares.shares, [True, True, True, False], rank)
        assert traffic.sent == pytest.approx(expected, abs=16) and traffic.received == pytest.approx(expected, abs=16)  # parts are whole entries
