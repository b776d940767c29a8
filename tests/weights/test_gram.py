"""Gram matrices: right, precise for small differences, read once, and the same on any threads."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from loomweight import Weights
from loomweight.engines import Engine, Inline, Threads
from loomweight.errors import IntegersDiffer, NamesDiffer, NonFinite, Overflow
from loomweight.weights import BLOCK
from loomweight.weights.gram import _SEGMENT, dot, gram, norm

from ..rules.vectors import counted, near, states


def reference(rows: Tensor) -> Tensor:
    return rows.double() @ rows.double().T


def sets_of(rows: Tensor) -> list[Weights]:
    return [Weights.of(state) for state in states(rows)]


def distances(products: Tensor) -> Tensor:
    return products.diagonal()[:, None] + products.diagonal() - 2 * products


def squared(rows: Tensor) -> Tensor:
    """Squared distances from explicit differences."""
    return torch.stack([(rows.double() - row.double()).square().sum(1) for row in rows])


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 13, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_it_is_the_matrix_of_inner_products(n: int, dtype: torch.dtype) -> None:
    rows = torch.randn(n, 5000, generator=torch.Generator().manual_seed(n)).to(dtype)
    torch.testing.assert_close(gram(sets_of(rows)), reference(rows), rtol=0, atol=1e-5 * 5000)


def test_dtypes_may_differ() -> None:
    rows = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    mixed = [Weights.of({"w": row.to(dtype)}) for row, dtype in zip(rows, (torch.bfloat16, torch.float64, torch.float32), strict=True)]
    expected = reference(torch.stack([w["w"].double() for w in mixed]))
    torch.testing.assert_close(gram(mixed), expected, rtol=1e-6, atol=1e-6)


def test_shared_tensors_count_once() -> None:
    tensor = torch.tensor([3.0, 4.0])
    assert norm(Weights.of({"a": tensor, "b": tensor})) == 5
    assert dot(Weights.of({"a": tensor}), Weights.of({"a": torch.tensor([1.0, 0.0])})) == 3


def outlying(kind: str, rows: Tensor) -> Tensor:
    """What stands in row 0, which the others are centred on at first."""
    return {"near": rows[0], "zero": torch.zeros_like(rows[0]), "flipped": -rows[0], "huge": torch.full_like(rows[0], 1e20)}[kind]


@pytest.mark.parametrize("kind", ["near", "zero", "flipped", "huge"])
@pytest.mark.parametrize("n", [4, 9])
def test_small_differences_keep_their_precision_whatever_set_comes_first(kind: str, n: int) -> None:
    rows = near(1, n, 300_000, 1e-5)
    rows[0] = outlying(kind, rows)
    exact = squared(rows[1:])
    apart = ~torch.eye(n - 1, dtype=torch.bool)
    error = (distances(gram(sets_of(rows))[1:, 1:]) / exact - 1)[apart].abs().max()
    assert error < 1e-4


def test_the_centre_may_change_on_the_way() -> None:
    rows = near(1, 4, 3 * BLOCK, 1e-5)
    rows[0, BLOCK : 2 * BLOCK] *= -1
    rows[1, 2 * BLOCK :] *= -1
    sets = [Weights.of({"w": row}) for row in rows]
    torch.testing.assert_close(distances(gram(sets)), squared(rows), rtol=1e-4, atol=0)


def test_that_plain_products_have_lost_it() -> None:
    rows = near(1, 4, 300_000, 1e-5)
    apart = ~torch.eye(4, dtype=torch.bool)
    error = (distances((rows @ rows.T).double()) / squared(rows) - 1)[apart].abs().max()
    assert error > 0.1


def test_squares_beyond_float32_are_no_error() -> None:
    rows = torch.full((3, 9000), 2e30)
    rows[1] *= -1
    torch.testing.assert_close(gram(sets_of(rows)), reference(rows), rtol=1e-6, atol=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("bad", [0, 1, 2])
def test_what_is_not_finite_is_named(value: float, bad: int) -> None:
    sets = [Weights.of({"layer.w": torch.ones(7)}, label=f"model {i}") for i in range(3)]
    rows = torch.ones(7)
    rows[4] = value
    sets[bad] = Weights.of({"layer.w": rows}, label="the sick one")
    with pytest.raises(NonFinite, match=r"the sick one: tensor 'layer.w' holds NaN or Inf, first at flat entry 4"):
        gram(sets)


def test_squares_beyond_float64_are_refused() -> None:
    with pytest.raises(Overflow, match="exceed float64"):
        gram([Weights.of({"w": torch.full((2,), 1e200, dtype=torch.float64)})])


def test_sets_must_agree_and_be_numbers() -> None:
    with pytest.raises(NamesDiffer, match="only in the second: 'b'"):
        gram([Weights.of({"a": torch.ones(1)}), Weights.of({"a": torch.ones(1), "b": torch.ones(1)})])
    with pytest.raises(IntegersDiffer):
        gram([Weights.of({"steps": torch.tensor(3)})] * 2)


BIG = 40 * BLOCK + 123


def big() -> list[Weights]:
    generator = torch.Generator().manual_seed(0)
    return [Weights.of({"big": torch.randn(BIG, generator=generator).bfloat16(), "small": torch.randn(5, generator=generator)}) for _ in range(3)]


def test_the_bits_do_not_depend_on_threads_or_order_of_names() -> None:
    sets = big()

    def on(engine: Engine, used: list[Weights]) -> Tensor:
        with engine:
            return gram(used)

    first = on(Threads(1), sets)
    assert torch.equal(first, on(Threads(2), sets))
    assert torch.equal(first, on(Threads(2), [Weights.of({name: w[name] for name in ("small", "big")}) for w in sets]))
    torch.testing.assert_close(first, on(Inline(), sets), rtol=1e-6, atol=1e-6)


def test_one_big_tensor_is_many_tasks_and_is_opened_and_read_once() -> None:
    tasks: list[object] = []
    opened: Counter[str] = Counter()

    class Watching(Inline):
        def map(self, function, given):  # type: ignore[no-untyped-def]
            tasks.extend(given)
            return super().map(function, tasks)

    def opening(weights: Weights) -> Weights:
        return Weights(weights.spec, lambda name: (opened.update([name]), weights.open(name))[1])

    watched = [counted(opening(w)) for w in big()]
    with Watching():
        gram([w for w, _ in watched])
    assert len(tasks) == 1 + -(-BIG // _SEGMENT) > 3
    assert opened == {"big": 3, "small": 3}
    assert all(reads == {"big": BIG, "small": 5} for _, reads in watched)
