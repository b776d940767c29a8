"""Rounding to the stored dtype: once, half to even, and never past its range in silence."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loomweight.errors import Overflow
from loomweight.weights.spec import cast

INF, NAN = float("inf"), float("nan")
NARROW = [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2]
BITS = {1: torch.uint8, 2: torch.int16}
every_narrow = pytest.mark.parametrize("dtype", NARROW, ids=str)


def nearest(value: float, dtype: torch.dtype) -> float:
    """Among all non-negative finite numbers of the dtype the nearest in exact arithmetic, the even one of two."""
    top = torch.tensor(torch.finfo(dtype).max).to(dtype).view(BITS[dtype.itemsize]).item()
    numbers = torch.arange(int(top) + 1).to(BITS[dtype.itemsize]).view(dtype).double()
    at = int(torch.searchsorted(numbers, abs(value)))
    around = [i for i in (at - 1, at) if 0 <= i < len(numbers)]
    best = min(around, key=lambda i: (abs(Fraction(numbers[i].item()) - Fraction(abs(value))), i % 2))
    return float(numbers[best]) * (-1 if value < 0 else 1)


@every_narrow
@given(data=st.data())
def test_float64_is_rounded_once(dtype: torch.dtype, data: st.DataObject) -> None:
    limit = torch.finfo(dtype).max
    value = data.draw(st.floats(-limit, limit) | st.floats(-2, 2))
    assert cast(torch.tensor([value], dtype=torch.float64), dtype, "w").double().item() == nearest(value, dtype)


@every_narrow
@given(place=st.floats(0, 1), shift=st.sampled_from([0, -1e-12, 1e-12, -1e-16, 1e-16]), sign=st.sampled_from([-1.0, 1.0]))
def test_the_middle_of_two_neighbours_and_just_beside_it(dtype: torch.dtype, place: float, shift: float, sign: float) -> None:
    """Torch by itself rounds 1 + 2^-8 + 2^-40 to bfloat16 by way of float32, which loses the 2^-40 and ends at 1."""
    top = int(torch.tensor(torch.finfo(dtype).max).to(dtype).view(BITS[dtype.itemsize]).item())
    at = int(place * (top - 1))
    low, high = torch.tensor([at, at + 1]).to(BITS[dtype.itemsize]).view(dtype).double().tolist()
    value = sign * (low + high) / 2 * (1 + shift)
    assert cast(torch.tensor([value], dtype=torch.float64), dtype, "w").double().item() == nearest(value, dtype)


def test_torch_alone_would_round_twice() -> None:
    """The reason for what `cast` does with float64; if this fails, torch has learnt it and `cast` can be simpler."""
    value = torch.tensor([1 + 2**-8 + 2**-40], dtype=torch.float64)
    assert value.to(torch.bfloat16).item() == 1
    assert cast(value, torch.bfloat16, "w").item() == 1 + 2**-7


@every_narrow
def test_float32_goes_as_torch_rounds_it(dtype: torch.dtype) -> None:
    values = torch.linspace(-400, 400, 10_001)
    assert torch.equal(cast(values, dtype, "w").float(), values.to(dtype).float())


@every_narrow
@pytest.mark.parametrize("source", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("company", [[], [NAN], [-1.0]], ids=["alone", "with nan", "with others"])
def test_what_does_not_fit_is_an_error_even_beside_nan(dtype: torch.dtype, source: torch.dtype, company: list[float]) -> None:
    for sign in (1, -1):
        with pytest.raises(Overflow, match=f"tensor 'w' holds .*, beyond the largest {dtype} .*; save it with a wider dtype"):
            cast(torch.tensor([*company, sign * 1.002 * torch.finfo(dtype).max], dtype=source), dtype, "w")


@pytest.mark.parametrize(("source", "dtype"), [(torch.float64, torch.float32), (torch.bfloat16, torch.float16), (torch.float8_e5m2, torch.float8_e4m3fn)])
def test_every_narrowing_is_checked(source: torch.dtype, dtype: torch.dtype) -> None:
    with pytest.raises(Overflow, match="'w'"):
        cast(torch.tensor([torch.finfo(source).max], dtype=torch.float64).to(source), dtype, "w")


@pytest.mark.parametrize("source", [torch.float32, torch.float64], ids=str)
def test_nan_and_inf_stay_where_the_dtype_has_them(source: torch.dtype) -> None:
    values = torch.tensor([INF, -INF, NAN, 1.5], dtype=source)
    for dtype in (torch.bfloat16, torch.float16, torch.float8_e5m2, torch.float32):
        assert torch.equal(cast(values, dtype, "w").double().nan_to_num(7, 8, 9), values.double().nan_to_num(7, 8, 9))
    with pytest.raises(Overflow, match="holds inf"):  # it has no Inf, and NaN is something else
        cast(values, torch.float8_e4m3fn, "w")


def test_widening_is_exact_from_every_dtype() -> None:
    for source in NARROW:
        values = torch.arange(256, dtype=torch.uint8).repeat(source.itemsize).view(source)
        wide = cast(values, torch.float32, "w")
        assert torch.equal(wide.nan_to_num(7), values.float().nan_to_num(7))
    assert cast(torch.empty(0), torch.float16, "w").dtype == torch.float16
