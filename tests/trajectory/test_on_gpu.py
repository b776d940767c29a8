"""Averages of models on an accelerator: what the CPU gives, kept there or here."""

import pytest
import torch
from torch import nn

from loomweight.errors import NonFinite
from loomweight.trajectory import EMA, LAWA, SWA

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def net(dtype=torch.float32) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(300, 700), nn.ReLU(), nn.BatchNorm1d(700), nn.Linear(700, 3)).to(dtype)


def run(model, average, steps=5):
    for seed in range(steps):
        noise = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_((0.1 * torch.randn(parameter.shape, generator=noise)).to(parameter))
        average.update(8)


KINDS = {"ema": lambda model, device: EMA(model, half_life=20, device=device), "swa": lambda model, device: SWA(model, device=device)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("device", [None, "cpu"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:the statistics of batch")
def test_it_is_the_average_of_the_cpu(kind, device, dtype) -> None:
    here, there = net(dtype), net(dtype).cuda()
    expected, found = KINDS[kind](here, None), KINDS[kind](there, device)
    run(here, expected)
    run(there, found)
    work = torch.float64 if dtype == torch.float64 else torch.float32
    for name, total in found.totals.items():
        assert (total.device.type, total.dtype) == (device or "cuda", work)
        torch.testing.assert_close(total.cpu(), expected.totals[name], rtol=1e-6, atol=1e-6)
    value = found.value()
    assert value["0.weight"].dtype == dtype


@pytest.mark.parametrize("device", [None, "cpu"])
@pytest.mark.filterwarnings("ignore:the statistics of batch")
def test_applied_and_afterwards(device) -> None:
    model = net().cuda()
    ema = EMA(model, half_life=20, device=device)
    run(model, ema)
    before = {name: (tensor.data_ptr(), tensor.clone()) for name, tensor in model.state_dict().items()}
    with ema.applied():
        assert model[0].weight.is_cuda and model[0].weight.cpu().equal(ema.totals["0.weight"].cpu())
    assert all(tensor.data_ptr() == before[name][0] and tensor.equal(before[name][1]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("device", [None, "cpu"])
def test_nan_changes_nothing(device) -> None:
    model = net().cuda()
    ema = EMA(model, half_life=20, device=device)
    run(model, ema)
    before = {name: total.clone() for name, total in ema.totals.items()}
    model[3].weight.data[2, 699] = float("nan")
    with pytest.raises(NonFinite, match=r"tensor '3\.weight' .*first at entry \(2, 699\)"):
        ema.update()
    assert all(total.equal(before[name]) for name, total in ema.totals.items())


def test_a_state_that_was_loaded_to_the_cpu_goes_back() -> None:
    model = net().cuda()
    for average in (EMA(model, half_life=20), LAWA(model, k=2)):
        run(model, average)
        state = average.state_dict()
        names = ("totals",) if "totals" in state else ("points",)
        moved = {**state, **{name: [{k: v.cpu() for k, v in each.items()} for each in state[name]] for name in names if name == "points"}}
        moved |= {name: {k: v.cpu() for k, v in state[name].items()} for name in names if name == "totals"}
        again = type(average)(model, **({"half_life": 20} if isinstance(average, EMA) else {"k": 2})).load_state_dict(moved)
        assert all(tensor.is_cuda for tensor in again._read().values())


def test_an_average_in_host_memory_takes_none_of_the_accelerators() -> None:
    model = nn.Linear(2000, 2000).cuda()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    ema = EMA(model, half_life=20, device="cpu")
    run(model, ema, 2)
    assert torch.cuda.memory_allocated() == before
