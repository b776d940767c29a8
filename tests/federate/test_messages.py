"""Parts of the message: bytes that are sent, what is lost and what is not, and what strangers may send."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from loomweight.errors import BadParameter, BadReply, LoomweightError, Overflow
from loomweight.federate import QSGD, Attack, ErrorFeedback, Half, Message, RandomK, Reply, ScaledSign, Server, Strategy, TopK, World, simulate
from loomweight.federate.messages.message import opened
from loomweight.federate.messages.packing import packed_bits, unpacked_bits

from .small import clients, deep, whole_batch

LIKE = {"w": torch.zeros(5, 7), "b": torch.zeros(3), "n": torch.tensor(0)}
PARTS = [TopK(0.2), RandomK(0.2), ScaledSign(), QSGD(8), QSGD(4), QSGD(2), QSGD(8, "norm"), Half(), Half("float16"), ErrorFeedback(TopK(0.2))]
every_part = pytest.mark.parametrize("part", PARTS, ids=repr)


def work(seed: int = 0, like: Mapping[str, Tensor] = LIKE, memory: dict | None = None) -> SimpleNamespace:
    held = {} if memory is None else memory
    return SimpleNamespace(generator=torch.Generator().manual_seed(seed), task=SimpleNamespace(weights=dict(like)), memory_of=lambda part: held)


def update(seed: int = 1, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(t.shape, generator=generator).to(dtype) if t.is_floating_point() else torch.tensor(4) for name, t in LIKE.items()}


def nbytes(packed: Mapping[str, Tensor]) -> int:
    return sum(tensor.nbytes for tensor in packed.values())


@every_part
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_comes_out_has_the_names_shapes_and_types_that_went_in(part: Message, dtype: torch.dtype) -> None:
    like = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in LIKE.items()}
    whole = update(dtype=dtype)
    seen = part.open(part.pack(whole, work(like=like)), like)
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in seen.items()} == {name: (tensor.shape, tensor.dtype) for name, tensor in whole.items()}
    assert seen["n"] == 4


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((TopK(0.2),), 7 * 8 + 8 + 8),  # 7 of 35 entries and 1 of 3, each a float32 and an int32; the integer as it is
        ((RandomK(0.2),), 7 * 4 + 4 + 8 + 8),  # values, and one seed
        ((ScaledSign(),), (5 + 4) + (1 + 4) + 8),
        ((QSGD(8),), (35 + 4) + (3 + 4) + 8),
        ((QSGD(4),), (18 + 4) + (2 + 4) + 8),
        ((QSGD(2),), (9 + 4) + (1 + 4) + 8),
        ((Half(),), 38 * 2 + 8),
        ((TopK(0.2), Half()), 7 * 6 + 6 + 8),
        ((TopK(0.2), QSGD(4)), (7 * 4 + 4 + 4 + 8) + (4 + 1 + 4 + 8) + 8),  # places; codes, a scale and a count of the values
    ],
    ids=repr,
)
def test_bytes_are_those_of_a_formula(parts: tuple[Message, ...], expected: int) -> None:
    packed = update()
    for part in parts:
        packed = part.pack(packed, work())
    assert nbytes(packed) == expected
    assert opened(parts, packed, LIKE).keys() == LIKE.keys()


def test_what_the_history_counts_is_what_is_sent() -> None:
    """34 parameters in two layers and BatchNorm's buffers: 54 floats and a count of 8 bytes, of three clients."""
    plain = simulate(deep(), clients(), Strategy(local=whole_batch()), 1).history[0]["bytes_up"]
    floats = (plain // 3 - 8) // 4
    assert plain == 3 * (4 * floats + 8)
    half = simulate(deep(), clients(), Strategy(local=whole_batch(), message=(Half(),)), 1).history[0]["bytes_up"]
    assert half == 3 * (2 * floats + 8)
    signs = simulate(deep(), clients(), Strategy(local=whole_batch(), message=(ErrorFeedback(ScaledSign()),)), 1).history[0]["bytes_up"]
    assert signs == 3 * (8 + sum(4 + -(-t.numel() // 8) for t in deep().state_dict().values() if t.is_floating_point()))


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=40), st.floats(0.01, 1.0))
@settings(max_examples=50)
def test_top_k_is_a_contraction_and_the_best_of_its_size(values: list[float], share: float) -> None:
    """||x - top_k(x)||^2 <= (1 - k/n) ||x||^2, and no other k entries lose less."""
    x = torch.tensor(values, dtype=torch.float64)
    part = TopK(share)
    packed = part.pack({"x": x}, work())
    k, n = len(packed["x:values"]), len(x)
    lost = (x - part.open(packed, {"x": x})["x"]).square().sum().item()
    assert lost <= (1 - k / n) * x.square().sum().item() * (1 + 1e-12)  # float64 sums
    assert lost == pytest.approx(x.square().sort().values[: n - k].sum().item(), rel=1e-9, abs=1e-12)  # float64 sums in another order


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=40))
@settings(max_examples=50)
def test_scaled_signs_lose_what_the_paper_says(values: list[float]) -> None:
    """||x - C(x)||^2 = (1 - ||x||_1^2 / (n ||x||^2)) ||x||^2."""
    x = torch.tensor(values, dtype=torch.float64)
    lost = (x - ScaledSign().open(ScaledSign().pack({"x": x}, work(like={"x": x})), {"x": x})["x"]).square().sum().item()
    expected = x.square().sum().item() - x.abs().sum().item() ** 2 / len(x)
    assert lost == pytest.approx(expected, rel=1e-4, abs=1e-3 + 1e-6 * x.square().sum().item())  # the scale is a float32


@pytest.mark.parametrize("part", [RandomK(0.25), QSGD(8), QSGD(4), QSGD(2), QSGD(4, "norm")], ids=repr)
def test_the_mean_of_many_is_the_update(part: Message) -> None:
    """Unbiased: within four standard errors of the mean in every entry."""
    x, draws = {"x": torch.randn(24, generator=torch.Generator().manual_seed(9))}, 1500
    seen = torch.stack([part.open(part.pack(x, work(seed, x)), x)["x"] for seed in range(draws)])
    error = seen.std(0) / draws**0.5
    assert ((seen.mean(0) - x["x"]).abs() <= 4 * error + 1e-6).all()  # 1e-6: entries on a level have no spread
    assert seen.std(0).max() > 0


def test_eight_bits_are_nearer_than_four_and_every_entry_is_within_a_level() -> None:
    x, scale = {"x": torch.randn(300, generator=torch.Generator().manual_seed(9))}, None
    for bits in (8, 4, 2):
        part = QSGD(bits)
        found = (part.open(part.pack(x, work(1, x)), x)["x"] - x["x"]).abs().max().item()
        assert found <= x["x"].abs().max().item() / part.levels * (1 + 1e-5)  # float32
        assert scale is None or found > scale
        scale = found


def test_what_is_left_out_is_sent_later() -> None:
    """The sum of what the server saw, and what is still held, is the sum of the updates: nothing is lost."""
    part, memory, sent = ErrorFeedback(TopK(0.1)), {}, torch.zeros(5, 7)
    for seed in range(20):
        sent += part.open(part.pack(update(seed), work(seed, memory=memory)), LIKE)["w"]
    total = torch.stack([update(seed)["w"] for seed in range(20)]).sum(0)
    assert torch.allclose(sent + memory["error"]["w"], total, atol=1e-5)  # twenty float32 sums
    alone = torch.stack([TopK(0.1).open(TopK(0.1).pack(update(seed), work()), LIKE)["w"] for seed in range(20)]).sum(0)
    assert (sent - total).norm() < (alone - total).norm()
    assert set(memory["error"]) == {"w", "b"}


@given(st.lists(st.integers(0, 255), max_size=30), st.sampled_from([1, 2, 4, 8]))
def test_bits_come_back(codes: list[int], bits: int) -> None:
    given_codes = torch.tensor([code % 2**bits for code in codes], dtype=torch.uint8)
    packed = packed_bits(given_codes, bits)
    assert len(packed) == -(-len(codes) * bits // 8)
    assert torch.equal(unpacked_bits(packed, bits, len(codes), "w"), given_codes)


ONE = torch.ones(1)
HOSTILE = [
    (TopK(0.2), {"w:indices": torch.arange(29, 36, dtype=torch.int32)}, "places that are not between 0 and 34"),
    (TopK(0.2), {"w:indices": torch.tensor([-1, 1, 2, 3, 4, 5, 6], dtype=torch.int32)}, "not between 0 and 34"),
    (TopK(0.2), {"w:indices": torch.tensor([1, 1, 2, 3, 4, 5, 6], dtype=torch.int32)}, "each once"),
    (TopK(0.2), {"w:indices": torch.arange(7)}, r"\[7\] int64, expected 7 int32"),
    (TopK(0.2), {"w:indices": torch.arange(8, dtype=torch.int32), "w:values": torch.ones(8)}, "expected 7 int32"),
    (TopK(0.2), {"w:values": torch.ones(3)}, r"\[3\] float32, expected 7"),
    (TopK(0.2), {"w:values": torch.ones(7, 1)}, "in one axis"),
    (TopK(0.2), {"w:values": torch.ones(7, dtype=torch.complex64)}, "complex64"),
    (TopK(0.2), {"w:values": None}, "without its values"),
    (TopK(0.2), {"w": torch.ones(5, 7)}, "packed and unpacked"),
    (TopK(0.2), {"w:values": None, "w:indices": None, "w": torch.ones(5, 7)}, "is not packed"),
    (TopK(0.2), {"x:values": ONE, "x:indices": torch.zeros(1, dtype=torch.int32)}, "no floating tensor of its name"),
    (TopK(0.2), {"n:values": ONE, "n:indices": torch.zeros(1, dtype=torch.int32), "n": None}, "no floating tensor of its name"),
    (RandomK(0.2), {":seed": None}, "its seed lacks"),
    (RandomK(0.2), {":seed": torch.ones(1)}, "float32, expected 1 int64"),
    (RandomK(0.2), {"w:values": torch.ones(35)}, "expected 7"),
    (RandomK(0.2), {"x:values": ONE}, "no floating tensor of its name"),
    (ScaledSign(), {"w:signs": torch.zeros(4, dtype=torch.uint8)}, "expected 5 uint8"),
    (ScaledSign(), {"w:signs": torch.zeros(5)}, "float32, expected 5 uint8"),
    (ScaledSign(), {"w:scale": torch.tensor([float("nan")])}, "scale nan, expected a finite number"),
    (ScaledSign(), {"w:scale": torch.tensor([float("inf")])}, "scale inf"),
    (ScaledSign(), {"w:scale": torch.tensor([-1.0])}, "scale -1.0"),
    (ScaledSign(), {"w:scale": torch.ones(2)}, "expected 1 float32"),
    (ScaledSign(), {"w:count": torch.tensor([35])}, "the server has another of its name"),
    (ScaledSign(), {"x:signs": torch.zeros(1, dtype=torch.uint8), "x:scale": ONE}, "the server has none of its name"),
    (ScaledSign(), {"x:signs": torch.zeros(1, dtype=torch.uint8), "x:scale": ONE, "x:count": torch.tensor([2**60])}, "holds 8 at most"),
    (ScaledSign(), {"x:signs": torch.zeros(1, dtype=torch.uint8), "x:scale": ONE, "x:count": torch.tensor([-1])}, "as -1 entries"),
    (QSGD(8), {"w:levels": torch.full((35,), 255, dtype=torch.uint8)}, "code 255; 254 is the largest of 8 bits"),
    (QSGD(2), {"w:levels": torch.full((9,), 255, dtype=torch.uint8)}, "code 3; 2 is the largest"),
    (QSGD(4), {"w:levels": torch.zeros(35, dtype=torch.uint8)}, "expected 18 uint8"),
    (QSGD(4), {"w:scale": torch.tensor([float("nan")])}, "scale nan"),
    (Half(), {"w": torch.ones(5, 7)}, "float32, expected bfloat16"),
    (ErrorFeedback(TopK(0.2)), {"w:values": torch.ones(3)}, "expected 7"),
]


@pytest.mark.parametrize(("part", "spoilt", "words"), HOSTILE, ids=lambda value: repr(value)[:60])
def test_a_broken_message_is_refused_by_name(part: Message, spoilt: dict[str, Tensor | None], words: str) -> None:
    packed = {name: tensor for name, tensor in {**part.pack(update(), work()), **spoilt}.items() if tensor is not None}
    with pytest.raises(BadReply, match=words):
        part.open(packed, LIKE)
    server = Server(LIKE, Strategy(message=(part,), tensors={"n": "max"}), ["ann"])
    server.tasks()
    refused = server.push(Reply("ann", 0, packed))
    assert refused is not None and refused.code == "packed" and server.weights["w"].eq(0).all()


DTYPES = [torch.float32, torch.float64, torch.float16, torch.int32, torch.int64, torch.uint8, torch.bool, torch.complex64]


@every_part
@given(st.data())
@settings(max_examples=40)
def test_whatever_a_stranger_sends_it_is_opened_or_refused(part: Message, data: st.DataObject) -> None:
    """Tensors of any shape and type under any of the names: the right form, or a LoomweightError; no other exception, and nothing broadcast."""
    honest = part.pack(update(), work())
    names = sorted({*honest, "w", "b", "n", "w:count", "x:values", ":seed", "w:", ":values"})
    for name in data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=4)):
        shape = data.draw(st.sampled_from([(), (0,), (1,), (3,), (5,), (7,), (35,), (5, 7), (1, 1)]))
        value = data.draw(st.sampled_from([0, 1, 3, -1, 200, 2**31 - 1, float("nan"), float("inf")]))
        dtype = data.draw(st.sampled_from(DTYPES if value == value and abs(value) < 2**31 else [torch.float32, torch.float64]))
        honest[name] = torch.full(shape, value, dtype=torch.float64).to(dtype)
        if data.draw(st.booleans()):
            del honest[name]
    server = Server(LIKE, Strategy(message=(part,), tensors={"n": "max"}), ["ann"])
    server.tasks()
    if server.push(Reply("ann", 0, dict(honest))) is None:
        server.close()
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in server.weights.items()} == {name: (t.shape, t.dtype) for name, t in LIKE.items()}
    assert all(torch.isfinite(tensor).all() for tensor in server.weights.values())
    with suppress(LoomweightError):
        part.open(honest, LIKE)


def test_attackers_of_all_kinds_meet_every_part_and_the_run_goes_on() -> None:
    class Wild(Attack):
        def forge(self, own, honest, draw):
            value = [float("nan"), 1e38, -1e30, 0.0][int(draw.integers(4))]
            return replace(own, update={name: torch.full_like(t, value) if t.is_floating_point() else t for name, t in own.update.items()})

    for part in PARTS:
        found = simulate(deep(), clients(4), Strategy(message=(part,), local=whole_batch()), 3, world=World(seed=2, attackers={"c2": Wild()}))
        assert all(line["pooled"] >= 3 for line in found.history)


def test_what_cannot_be_said_in_sixteen_bits_is_said() -> None:
    with pytest.raises(Overflow, match=r"'w' of the update has an entry of 7e\+04, which float16 cannot hold"):
        Half("float16").pack({"w": torch.tensor([7e4])}, work())
    opened = Half().open(Half().pack({"w": torch.tensor([7e4])}, work()), {"w": torch.zeros(1)})
    assert opened["w"].item() == pytest.approx(7e4, rel=2**-8)  # half a unit of bfloat16


def test_empty_and_single_tensors() -> None:
    like = {"e": torch.zeros(0, 3), "s": torch.zeros(())}
    for part in PARTS:
        seen = part.open(part.pack({"e": torch.zeros(0, 3), "s": torch.tensor(2.0)}, work(like=like)), like)
        assert seen["e"].shape == (0, 3) and seen["s"].item() == 2.0
        zero = part.open(part.pack({"e": torch.zeros(0, 3), "s": torch.tensor(0.0)}, work(like=like)), like)
        assert zero["s"].item() == 0.0


def test_numbers_out_of_range() -> None:
    for make, words in (
        (lambda: TopK(0.0), r"share is in \(0, 1\], found 0.0"),
        (lambda: RandomK(2.0), "found 2.0"),
        (lambda: QSGD(3), "bits are 2, 4 or 8 and the scale max or norm, found 3 and 'max'"),
        (lambda: QSGD(8, "mean"), "'mean'"),
        (lambda: Half("float8"), "bfloat16 or float16, found 'float8'"),
    ):
        with pytest.raises(BadParameter, match=words):
            make()
