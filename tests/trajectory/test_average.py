"""The average beside a live model is the pure fold over its weights, to the bit, in every dtype and layout; NaN leaves it as it was."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from loomweight.engines import Inline, Threads
from loomweight.errors import BadParameter, NonFinite
from loomweight.rules import RunningMean
from loomweight.trajectory import EMA, LAWA, SWA, Average, Exponential, Power
from loomweight.trajectory import step as step_module
from loomweight.trajectory.step import Move, advance, flat
from loomweight.weights import BLOCK

NAN = float("nan")


def net(dtype=torch.float32) -> nn.Module:
    """Large, small, empty and 0-d tensors."""
    torch.manual_seed(0)
    model = nn.Module()
    model.wide = nn.Parameter(torch.randn(300, 1000))
    model.conv = nn.Conv2d(3, 8, 3)
    model.empty = nn.Parameter(torch.zeros(0, 4))
    model.scale = nn.Parameter(torch.tensor(1.5))
    model.norm = nn.BatchNorm1d(5)
    model.register_buffer("steps", torch.tensor(3))
    model.register_buffer("cache", torch.ones(2), persistent=False)
    return model.to(dtype)


def shake(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]:
            tensor.add_((0.1 * torch.randn(tensor.shape, generator=generator)).to(tensor.dtype))


def bits(average) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in average._read().items()}


def same(left, right) -> bool:
    return left.keys() == right.keys() and all(left[name].equal(right[name]) for name in left)


@pytest.mark.parametrize("profile", [RunningMean(), Exponential(7.0), Exponential(50.0, warm_up=0.2), Exponential(20.0, from_start=True), Power(3.0)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.filterwarnings("ignore:the statistics of batch")
def test_live_is_pure_to_the_bit(profile, dtype) -> None:
    model = net(dtype)
    average = Average(model, profile)
    state = profile.start(model.state_dict())
    for seed, samples in enumerate((4, 1, 1, 16, 2.5)):
        shake(model, seed)
        average.update(samples)
        state = profile.add(state, model.state_dict(), samples)
    expected, found = profile.value(state), average.value()
    assert list(found) == list(expected)
    for name in expected:
        assert found[name].equal(expected[name]), name
        assert found[name].dtype == expected[name].dtype


def test_half_precision_accumulates_in_float32_and_the_twin_stops() -> None:
    """A step of a long average is far below a bfloat16's last place: kept in the model's own dtype, it would never move."""
    model = nn.Linear(1, 1, bias=False).bfloat16()
    model.weight.data.fill_(1.0)
    ema = EMA(model, decay=0.999, from_start=True)
    twin = model.weight.detach().clone()
    model.weight.data.fill_(2.0)
    for _ in range(300):
        ema.update()
        twin.lerp_(model.weight.detach(), 0.001)
    assert twin.item() == 1.0
    assert ema.totals["weight"].dtype == torch.float32
    assert ema.totals["weight"].item() == pytest.approx(2 - 0.999**300, rel=1e-5)  # 300 steps, each rounded to float32
    assert ema.value()["weight"].dtype == torch.bfloat16


def test_mixed_dtypes_and_float8_buffers() -> None:
    model = nn.Sequential(nn.Linear(2, 2).bfloat16(), nn.Linear(2, 2).double(), nn.Linear(2, 2))
    model.register_buffer("low", torch.tensor([1.0, 2.0]).to(torch.float8_e4m3fn))
    swa = SWA(model)
    swa.update()
    model.low.copy_(torch.tensor([2.0, 4.0]))
    swa.update()
    assert {name: total.dtype for name, total in swa.totals.items() if "weight" in name or name == "low"} == {
        "0.weight": torch.float32,
        "1.weight": torch.float64,
        "2.weight": torch.float32,
        "low": torch.float32,
    }
    assert swa.value()["low"].dtype == torch.float8_e4m3fn
    assert swa.value()["low"].float().tolist() == [1.5, 3.0]


def test_a_float8_buffer_with_nan_is_named() -> None:
    model = nn.Linear(1, 1)
    model.register_buffer("low", torch.tensor([1.0, NAN]).to(torch.float8_e5m2))
    with pytest.raises(NonFinite, match="tensor 'low' of the model holds NaN or Inf"):
        SWA(model).update()


LAYOUTS = {
    "transposed": lambda x: x.t().contiguous().t(),
    "every second": lambda x: torch.stack([x, x], -1).flatten(1)[:, ::2],
    "expanded": lambda x: x[:1].expand(x.shape),
    "offset": lambda x: torch.cat([x.new_zeros(1), x.flatten()])[1:].view(x.shape),
}


@pytest.mark.parametrize("rows", [5, 500])
@pytest.mark.parametrize("after", LAYOUTS)
@pytest.mark.parametrize("before", LAYOUTS)
def test_the_layout_of_a_parameter_does_not_matter_even_if_it_changes(before, after, rows) -> None:
    x, y = torch.randn(2, rows, 70, generator=torch.Generator().manual_seed(1))
    model = nn.Module()
    model.w = nn.Parameter(x)
    swa = SWA(model)
    model.w.data = LAYOUTS[before](x)
    first = model.w.detach().clone()
    swa.update()
    model.w.data = LAYOUTS[after](y)
    swa.update()
    assert torch.equal(swa.value()["w"], torch.lerp(first, model.w.detach(), 0.5))


def test_channels_last_in_the_middle_of_a_run() -> None:
    model = nn.Conv2d(64, 128, 3)
    twin = copy.deepcopy(model)
    averages = [EMA(each, half_life=3) for each in (model, twin)]
    for seed in range(4):
        if seed == 2:
            model.to(memory_format=torch.channels_last)
        for each, average in zip((model, twin), averages, strict=True):
            shake(each, seed)
            average.update()
    assert averages[0].value()["weight"].equal(averages[1].value()["weight"])
    before = model.weight.data
    with averages[0].applied():
        assert model(torch.ones(1, 64, 5, 5)).isfinite().all()
    assert model.weight.data_ptr() == before.data_ptr() and model.weight.is_contiguous(memory_format=torch.channels_last)


def test_flat_is_a_view_of_what_is_dense() -> None:
    for tensor in (torch.randn(4, 5).t(), torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last), torch.randn(3, 1, 5).permute(2, 1, 0)):
        assert flat(tensor).data_ptr() == tensor.data_ptr()
        assert flat(tensor, like=torch.empty(tensor.shape)).equal(tensor.flatten())


PLACES = {
    "first": ("wide", 0, NAN),
    "middle": ("conv.weight", 100, float("inf")),
    "last": ("norm.running_var", 4, NAN),
    "in the second block": ("wide", BLOCK + 5, -float("inf")),
    "0-d": ("scale", 0, NAN),
}
KINDS = {
    "ema": lambda model: EMA(model, half_life=4),
    "swa": SWA,
    "start": lambda model: EMA(model, half_life=4, from_start=True),
    "lawa": lambda model: LAWA(model, k=3),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("updates", [0, 1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_nan_is_named_and_changes_nothing(kind, updates, place) -> None:
    """The average to the rounding of one step, everything else exactly; training goes on as if nothing had been."""
    model = net()
    average, twin = KINDS[kind](model), KINDS[kind](model)
    for seed in range(updates):
        shake(model, seed)
        average.update(2)
        twin.update(2)
    before, clock, count = bits(average) if updates else {}, average.clock, average.count
    name, entry, bad = PLACES[place]
    shake(model, 9)
    tensor = model.state_dict(keep_vars=True)[name]
    flat_ = tensor.data.view(-1)
    good = flat_[entry].item()
    flat_[entry] = bad
    with Threads(2), pytest.raises(NonFinite, match=rf"tensor '{name}' of the model holds NaN or Inf \(first at entry .*the average is as it was"):
        average.update(2)
    flat_[entry] = good
    assert (average.clock, average.count) == (clock, count)
    if updates:
        for key, value in bits(average).items():
            larger = max(value.abs().max().item(), 1.0) if value.numel() else 1.0
            assert (value - before[key]).abs().max().item() <= 4e-7 * larger if value.numel() else True
    elif kind != "start":
        assert not average._held()
    shake(model, 10)
    average.update(2)
    twin.update(2)
    for key, value in bits(average).items():
        torch.testing.assert_close(value, bits(twin)[key], rtol=1e-6, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(rate=st.floats(1e-6, 0.5), scale=st.floats(-30, 30), seed=st.integers(0, 1000), engine=st.sampled_from([Inline(), Threads(3)]))
def test_taking_back_is_right_to_the_rounding_of_the_step(rate, scale, seed, engine) -> None:
    """|m - taken back| <= a few units of 2^-24 of what was added up, whatever the sizes of m and w."""
    generator = torch.Generator().manual_seed(seed)
    totals = [torch.randn(n, generator=generator) for n in (10, 3 * BLOCK, BLOCK)]
    lives = [torch.randn(len(total), generator=generator) * 2.0**scale for total in totals]
    lives[-1][-1] = NAN
    before = [total.clone() for total in totals]
    with engine, pytest.raises(NonFinite, match="tensor '2'"):
        advance(Move(str(i), total, live, rate) for i, (total, live) in enumerate(zip(totals, lives, strict=True)))
    for was, now, live in zip(before, totals, lives, strict=True):
        bound = 2**-24 * (was.abs() + 8 * (was.abs() + rate * live.nan_to_num().abs()))
        assert ((was.double() - now.double()).abs() <= bound).all()


@pytest.mark.parametrize("engine", [Inline(), Threads(3)], ids=str)
def test_a_step_that_is_interrupted_is_taken_back_too(engine, monkeypatch) -> None:
    totals, calls = [torch.ones(12 * BLOCK)], []

    def interrupted(entries) -> bool:
        calls.append(0)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return True

    monkeypatch.setattr(step_module, "_small", interrupted)
    with engine, pytest.raises(KeyboardInterrupt):
        advance([Move("w", totals[0], torch.zeros(12 * BLOCK), 0.25)])
    assert totals[0].eq(1).all()


def test_entries_whose_sum_overflows_are_no_nan() -> None:
    for dtype, size in ((torch.float16, 6e4), (torch.float32, 3e38), (torch.float64, 1e308)):
        model = nn.Linear(40, 40, bias=False).to(dtype)
        model.weight.data.fill_(size)
        ema = EMA(model, half_life=2)
        assert ema.update() and ema.update()
        assert ema.value()["weight"].eq(torch.tensor(size, dtype=dtype)).all()


def test_the_first_nan_in_order_is_named_whatever_the_threads() -> None:
    model = nn.ParameterList([torch.zeros(3 * BLOCK) for _ in range(5)])
    swa = SWA(model)
    for _ in range(3):
        swa.update()
    for i in (1, 3, 4):
        model[i].data[-1] = NAN
    for _ in range(5):
        with Threads(4), pytest.raises(NonFinite, match=rf"tensor '1' .*first at entry \({3 * BLOCK - 1},\)"):
            swa.update()


def test_a_start_with_nan_is_refused_at_once() -> None:
    model = nn.Linear(2, 2)
    model.bias.data[1] = NAN
    with pytest.raises(NonFinite, match="tensor 'bias'"):
        EMA(model, half_life=1, from_start=True)


def test_threads_and_no_threads_give_the_same_bits() -> None:
    found = []
    for engine in (Inline(), Threads(1), Threads(4)):
        model = net()
        ema = EMA(model, half_life=3)
        with engine:
            for seed in range(4):
                shake(model, seed)
                ema.update()
        found.append(bits(ema))
    assert same(found[0], found[1]) and same(found[0], found[2])


def test_tensors_elsewhere_take_the_same_step() -> None:
    """What accelerators are given, on tensors that lie here."""
    for dtype in (torch.float32, torch.bfloat16):
        lives = [torch.randn(n).to(dtype) for n in (3, 7, 40_000)]
        totals, twins = ([torch.zeros(len(live)) for live in lives] for _ in range(2))
        step_module._advance_there([Move("", total, live, 0.3) for total, live in zip(totals, lives, strict=True)])
        advance(Move("", total, live, 0.3) for total, live in zip(twins, lives, strict=True))
        assert all(a.equal(b) for a, b in zip(totals, twins, strict=True))


@pytest.mark.parametrize("samples", [0, -1, NAN, float("inf")])
def test_samples_are_a_positive_number(samples) -> None:
    with pytest.raises(BadParameter, match="an update stands for a positive number of samples, found"):
        SWA(nn.Linear(1, 1)).update(samples)


def test_inside_inference_mode() -> None:
    """An evaluation loop may call anything of the average."""
    model = nn.Linear(2, 2)
    swa = SWA(model)
    with torch.inference_mode():
        swa.update()
    model.weight.data.mul_(3)
    swa.update()
    with torch.inference_mode(), swa.applied():
        model(torch.ones(1, 2))
    model(torch.ones(1, 2)).sum().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert swa.update()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_without_a_look_the_step_is_the_same_and_nan_enters(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(300, 400), nn.Linear(2, 2)).to(dtype)
    careful, quick = EMA(model, half_life=3), EMA(model, half_life=3)
    quick.look = False
    for _ in range(3):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)).to(dtype))
        careful.update(), quick.update()
    assert all(careful.totals[name].equal(quick.totals[name]) for name in careful.totals)
    model[0].weight.data[7, 7] = float("nan")
    with pytest.raises(NonFinite):
        careful.update()
    quick.update()
    assert bool(quick.totals["0.weight"][7, 7].isnan()) and int(quick.totals["0.weight"].isnan().sum()) == 1
