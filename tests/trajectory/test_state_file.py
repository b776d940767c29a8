"""The state of an average on disk: every bit comes back, and no code with it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import loomweight as lw
from loomweight.errors import BadParameter, BrokenFile, OutputError
from loomweight.trajectory import EMA, FGE, LAWA, SWA, SWAD, SWAG, Lookahead, SwitchEMA, Track, load_state, save_state

BUILDS: dict[str, Callable[[nn.Module], Track]] = {
    "EMA": lambda model: EMA(model, half_life=3.7, every=2),
    "SWA, not begun": lambda model: SWA(model, start=100),
    "LAWA": lambda model: LAWA(model, k=2),
    "SwitchEMA": lambda model: SwitchEMA(model, half_life=3.7, switch_every=2),
    "Lookahead": lambda model: Lookahead(model, every=2),
    "SWAD": lambda model: SWAD(model, patience=2),
    "FGE": lambda model: FGE(model, length=2),
    "SWAG": lambda model: SWAG(model, k=2),
}


def model(dtype: torch.dtype = torch.float32) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).to(dtype)
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator).to(dtype)
    return net


def flat(state: Any, where: str = "") -> dict[str, Any]:
    inner = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, list) else None
    return {where: state} if inner is None else {k: v for key, value in inner for k, v in flat(value, f"{where}/{key}").items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_every_bit_and_every_type_comes_back(build: Callable[[nn.Module], Track], dtype: torch.dtype, tmp_path: Path) -> None:
    net = model(dtype)
    track = build(net)
    for step in range(5):
        net[0].weight.data += 0.1 * step
        track.update(samples=1.1)
    again = load_state(build(model(dtype)), save_state(track, tmp_path / "state.safetensors"))
    before, after = flat(track.state_dict()), flat(again.state_dict())
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert type(value) is type(after[key]), key
        if isinstance(value, Tensor):
            assert value.dtype == after[key].dtype
            assert torch.equal(value, after[key]), key
        else:
            assert value == after[key], key


def test_what_it_refuses(tmp_path: Path) -> None:
    track = EMA(model(), half_life=2)
    with pytest.raises(BadParameter, match=r"must end in \.safetensors, found 'there'"):
        save_state(track, "there")
    path = save_state(track, tmp_path / "a.safetensors")
    with pytest.raises(OutputError, match=r"a\.safetensors"):
        save_state(track, path)
    save_state(track, path, overwrite=True)
    with pytest.raises(BadParameter, match=r"Exponential.*make the average with the same settings"):
        load_state(EMA(model(), half_life=3), path)
    lw.save(model().state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(BrokenFile, match=r"w\.safetensors: no state of an average"):
        load_state(track, tmp_path / "w.safetensors")


def test_a_state_of_another_type_is_named(tmp_path: Path) -> None:
    class Odd(EMA):
        def _state(self) -> dict[str, Any]:
            return {**super()._state(), "when": {"first": object()}}

    with pytest.raises(BadParameter, match="'when/first' of the state is a object"):
        save_state(Odd(model(), half_life=1), tmp_path / "a.safetensors")
