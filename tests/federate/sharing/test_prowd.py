"""ProWD: weights of few bits, by hand; what learning to undo the rounding gains."""

from pathlib import Path

import pytest
import torch
from torch import nn

from loomweight.errors import BadParameter, BadReply
from loomweight.federate import Bits, ProWD, Reply, Strategy, prowd, simulate
from loomweight.federate.pooling.pro_wd import lifted
from tests.federate.pooling.served import pooled
from tests.federate.small import clients, same, whole_batch


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(4, 12), nn.Tanh(), nn.Linear(12, 2))


def test_bits_by_hand_and_their_bytes() -> None:
    """The step of a row is its largest entry over 1, 7 or 127; codes begin at 0."""
    weights = {"w": torch.tensor([[7.0, -3.2, 0.4, 1.0]]), "b": torch.tensor([0.3])}
    part = Bits({"two": 2, "four": 4})
    packed = part.pack_down(weights, "four")
    assert packed["w:codes"].tolist() == [14 + 16 * 4, 7 + 16 * 8] and packed["w:steps"].tolist() == [1.0] and packed["b"].tolist() == pytest.approx([0.3])
    assert part.open(packed, weights)["w"].tolist() == [[7.0, -3.0, 0.0, 1.0]]
    assert part.open(part.pack_down(weights, "two"), weights)["w"].tolist() == [[7.0, 0.0, 0.0, 0.0]]
    assert same(part.pack_down(weights, "other"), weights)


def test_a_linear_change_of_rounding_is_undone() -> None:
    """Where weights are a multiple of their rounded form and of the server's, least squares find them exactly."""
    generator = torch.Generator().manual_seed(0)
    server, low = torch.randn(2, 3, 8, generator=generator).unbind(0)
    low = Bits({"a": 4}).open(Bits({"a": 4}).pack_down({"w": low}, "a"), {"w": low})["w"]
    found = lifted([low, server * 1.5], [4, 32], server)
    assert torch.equal(found[1], server * 1.5)
    assert torch.allclose(found[0], server * 1.5, atol=1e-5)  # float32; the only client of full precision says that all is 1.5 w
    assert all(torch.equal(one, other) for one, other in zip(lifted([low, low], [4, 4], server), [low, low], strict=True))


def test_entries_that_disagree_are_left_out() -> None:
    weights = {"w": torch.zeros(1, 4)}
    full, few = torch.tensor([[1.0, -1.0, 0.5, 0.25]]), torch.tensor([[1.0, -1.0, -1.0, 0.0]])
    replies = {"full": Reply("full", 0, {"w": full}), "few": Reply("few", 0, {"w": few})}
    near, far = (pooled(ProWD({"few": 2}, within), weights, [replies]) for within in (0.5, 10.0))
    assert near.history[0]["counted"] < 1.0 == far.history[0]["counted"]
    alike = pooled(ProWD(), weights, [replies])
    assert torch.allclose(alike.weights["w"], (full + few) / 2)


def test_full_precision_suffers_less_than_from_plain_averaging(tmp_path: Path) -> None:
    """The paper's claim: low-bit clients degrade a mean of weights; dequantised and selected they do so less."""

    class Plain(ProWD):
        def pool(self, weights, held, state, book):
            return ProWD().pool(weights, held, state, book)  # all clients count as full

    data, local = clients(6, 30), whole_batch(0.3, steps=3)
    widths = {"c0": 2, "c1": 2, "c2": 4, "c3": 8}
    exact = simulate(network(), data, Strategy(local=local), rounds=8)
    found = simulate(network(), data, prowd(Strategy(local=local), widths), rounds=8)
    plain = simulate(network(), data, Strategy(local=local, message=(Bits(widths),), aggregate=Plain(widths)), rounds=8)
    names = [name for name in exact.weights if name.endswith("weight")]
    away = [sum(float((weights[name] - exact.weights[name]).square().sum()) for name in names) for weights in (found.weights, plain.weights)]
    assert away[0] < 0.5 * away[1]
    inputs, targets = (torch.cat([part[i] for part in data.values()]) for i in (0, 1))
    assert (found.model(inputs).argmax(1) == targets).double().mean() > 0.9
    assert found.history[0]["bytes_up"] == found.history[0]["bytes_down"] < 0.75 * exact.history[0]["bytes_up"]
    strategy = prowd(Strategy(local=local), widths)
    simulate(network(), data, strategy, rounds=3, folder=tmp_path)
    again = simulate(network(), data, strategy, rounds=8, folder=tmp_path)
    assert same(again.weights, found.weights) and again.history == found.history


def test_words_for_what_does_not_fit() -> None:
    with pytest.raises(BadParameter, match="2, 4, 8 or 32 bits, found 3"):
        Bits({"a": 3})
    with pytest.raises(BadParameter, match="within is positive"):
        ProWD(within=0)
    with pytest.raises(BadParameter, match="without a message"):
        prowd(Strategy(message=(Bits(),)), {})
    packed = Bits({"a": 4}).pack_down({"w": torch.ones(2, 2)}, "a")
    with pytest.raises(BadReply, match="its steps lack"):
        Bits().open({name: tensor for name, tensor in packed.items() if "steps" not in name}, {"w": torch.ones(2, 2)})
    with pytest.raises(BadReply, match="rounded to 3 bits"):
        Bits().open({**packed, "w:bits": torch.tensor([3], dtype=torch.uint8)}, {"w": torch.ones(2, 2)})
