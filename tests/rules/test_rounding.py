"""Half precision is rounded once: merged bfloat16 is the float64 formula rounded to bfloat16, but for one entry in thousands."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from loomweight import Weights
from loomweight.rules import Rule, combine, karcher, model_stock, multislerp, nuslerp, slerp


def once(values: Tensor) -> Tensor:
    """Float64 to the nearest bfloat16, ties to even. Torch itself goes by way of float32, and so rounds twice."""
    part, exponent = torch.frexp(values)
    return torch.ldexp(torch.round(torch.ldexp(part, torch.tensor(8))), exponent - 8)


def units(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True)


def spherical(t: float) -> Callable[[Tensor, Tensor], Tensor]:
    def formula(rows: Tensor, base: Tensor) -> Tensor:
        a, b = units(rows)
        theta = torch.atan2((a - b * (a @ b)).norm(), a @ b)
        return (torch.sin((1 - t) * theta) * rows[0] + torch.sin(t * theta) * rows[1]) / torch.sin(theta)

    return formula


def mean_direction(rows: Tensor, base: Tensor) -> Tensor:
    mean = units(rows).mean(0)
    return rows.norm(dim=1).mean() * mean / mean.norm()


def mean_angle(rows: Tensor, base: Tensor) -> Tensor:
    point = units(rows).mean(0)
    for _ in range(20):
        point = point / point.norm()
        along = units(rows) @ point
        across = units(rows) - along[:, None] * point
        theta = torch.atan2(across.norm(dim=1), along)
        point = point + (theta / across.norm(dim=1) @ across) / len(rows)
    return rows.norm(dim=1).mean() * point / point.norm()


def stock(rows: Tensor, base: Tensor) -> Tensor:
    n, directions = len(rows), units(rows - base)
    cosine = ((directions @ directions.T).sum() - n) / (n * (n - 1))
    return base + n * cosine / (1 + (n - 1) * cosine) * (rows - base).mean(0)


def fine_tunes(relative: float, n: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    base = (0.02 * torch.randn(250_000, generator=generator)).bfloat16()
    shared = 0.7 * torch.randn(250_000, generator=generator)
    rows = base.float() + relative * 0.02 * (shared + torch.randn(n, 250_000, generator=generator))
    return base, rows.bfloat16()


def merged(base: Tensor, rows: Tensor, rule: Rule) -> Tensor:
    return combine([Weights.of({"w": row}) for row in rows], rule)["w"]


CASES = [
    ("slerp", lambda base: slerp(0.5), spherical(0.5), 2),
    ("nuslerp", lambda base: nuslerp((0.7, 0.3)), spherical(0.3), 2),
    ("multislerp", lambda base: multislerp(), mean_direction, 2),
    ("multislerp", lambda base: multislerp(), mean_direction, 4),
    ("karcher", lambda base: karcher(), mean_angle, 3),
    ("model_stock", model_stock, stock, 2),
]


@pytest.mark.parametrize("relative", [0.1, 1e-2, 1e-3, 3e-4])
@pytest.mark.parametrize(("name", "rule", "formula", "n"), CASES, ids=[f"{case[0]}-{case[3]}" for case in CASES])
def test_the_result_is_the_formula_rounded_once(name: str, rule: Callable, formula: Callable, n: int, relative: float) -> None:
    base, rows = fine_tunes(relative, n)
    exact = once(formula(rows.double(), base.double()))
    out = merged(base, rows, rule(Weights.of({"w": base})))
    assert (out.double() != exact).double().mean() < 5e-4


def test_that_half_precision_arithmetic_is_noticed() -> None:
    """The same in bfloat16 throughout, as mergekit's nuslerp and multislerp run: a quarter of the entries are off and more."""
    base, rows = fine_tunes(0.1, 2)
    exact = once(mean_direction(rows.double(), base.double()))
    mean = (rows / rows.norm(dim=1, keepdim=True)).mean(0)
    half = rows.norm(dim=1).mean() * mean / mean.norm()
    assert half.dtype == torch.bfloat16
    assert (half.double() != exact).double().mean() > 0.2
