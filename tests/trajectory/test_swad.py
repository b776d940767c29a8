"""SWAD: start and end against the algorithm applied to the whole loss curve, the mean against all points, and the claim."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import loomweight as lw
from loomweight.trajectory import SWAD, load_state, save_state
from loomweight.trajectory.valley import Valley

LOSSES = st.lists(st.sampled_from([1.0, 1.1, 1.2, 1.5, 2.0, 3.0, 4.0]), min_size=1, max_size=30)


def offline(losses: list[float], n_s: int, n_e: int, r: float) -> tuple[int | None, int | None]:
    """Algorithm 1 on a curve that is known whole: the first low, then the first n_e in a row above the threshold."""
    starts = [i for i in range(len(losses) - n_s + 1) if all(losses[i] <= later for later in losses[i : i + n_s])]
    if not starts:
        return None, None
    start = starts[0]
    threshold = r * sum(losses[start : start + n_s]) / n_s
    high = [loss > threshold for loss in losses]
    ends = [i - n_e for i in range(start + n_s, len(losses)) if i - n_e + 1 >= 0 and all(high[i - n_e + 1 : i + 1])]
    return start, (ends[0] if ends else None)


@given(LOSSES, st.integers(1, 4), st.integers(1, 5), st.sampled_from([1.0, 1.3, 1.8]))
def test_start_and_end_are_those_of_the_algorithm_on_the_whole_curve(losses: list[float], n_s: int, n_e: int, r: float) -> None:
    valley = Valley(n_s, n_e, r)
    start, end = offline(losses, n_s, n_e, r)
    for i, loss in enumerate(losses):
        over = valley.add(loss)
        assert over == (end is not None and i == end + n_e)
        if over:
            break
    assert (valley.start, valley.end) == (start, end)


def test_a_curve_by_hand() -> None:
    """N_s = 3: the first loss with two later ones not below it is 2.0 (number 3); the threshold is 1.3 * (2.0 + 2.4 + 2.2) / 3 = 2.86."""
    valley = Valley(patience=3, tolerance=2, ratio=1.3)
    told = [valley.add(loss) for loss in (5.0, 4.0, 3.0, 2.0, 2.4, 2.2, 2.9, 2.8, 2.9, 3.5)]
    assert (valley.start, valley.end) == (3, 7)
    assert valley.threshold == pytest.approx(2.86)
    assert told == [False] * 9 + [True]


@settings(max_examples=25)
@given(LOSSES, st.integers(1, 3), st.integers(1, 4), st.data())
def test_the_mean_is_that_of_all_steps_of_the_valley(losses: list[float], n_s: int, n_e: int, data: st.DataObject) -> None:
    """Steps of 1 to 3 samples, 1 to 3 of them before each validation; a weighted mean over the points, written out."""
    model = nn.Linear(1, 1, bias=False)
    swad = SWAD(model, n_s, n_e, 1.3)
    points: list[list[tuple[float, float]]] = []
    for loss in losses:
        points.append([(data.draw(st.integers(-9, 9)), data.draw(st.integers(1, 3))) for _ in range(data.draw(st.integers(1, 3)))])
        for w, samples in points[-1]:
            model.weight.data.fill_(w)
            swad.update(samples)
        over = swad.validated(loss)
        assert len(swad.pending) <= max(n_s, n_e)
        if over:
            break
    start, end = offline(losses, n_s, n_e, 1.3)
    if start is None:
        with pytest.raises(lw.errors.TooFewSets, match="SWAD has found no start"):
            swad.value()
        return
    kept = [point for stretch in points[start : len(points) if end is None else end + 1] for point in stretch]
    wanted = sum(w * samples for w, samples in kept) / sum(samples for _, samples in kept)
    assert swad.value()["weight"].item() == pytest.approx(wanted, abs=1e-5)


def overfitting(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Few noisy examples of a plane in 40 dimensions, Adam at a constant rate: the error falls and rises. That of SWAD, the last step, the best."""
    generator = torch.Generator().manual_seed(seed)
    x, truth = torch.randn(1060, 40, generator=generator), torch.randn(40, 1, generator=generator)
    y = x @ truth + 2 * torch.randn(1060, 1, generator=generator)
    check, test = slice(60, 560), slice(560, 1060)
    model = nn.Linear(40, 1)
    nn.init.zeros_(model.weight)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.3)
    swad, best = SWAD(model, patience=3, tolerance=3, ratio=1.1), (torch.inf, torch.tensor(0.0))

    def error(part: slice) -> Tensor:
        with torch.no_grad():
            return (model(x[part]) - x[part] @ truth).square().mean()

    for step in range(150):
        batch = torch.randint(60, (4,), generator=generator)
        optimizer.zero_grad()
        (model(x[batch]) - y[batch]).square().mean().backward()
        optimizer.step()
        swad.update()
        if step % 5 == 4 and swad.valley.end is None:
            with torch.no_grad():
                loss = (model(x[check]) - y[check]).square().mean().item()
            swad.validated(loss)
            best = min(best, (loss, error(test)))
    last = error(test)
    with swad.applied():
        return error(test), last, best[1]


def test_the_claim_the_valley_generalises_better_than_the_last_step_and_the_best() -> None:
    """Where steps are noisy. With a third of this rate SWAD is level with the best step, and ahead of the last all the same."""
    ours, last, best = (torch.stack(errors).mean() for errors in zip(*map(overfitting, (0, 1)), strict=True))
    assert ours < 0.8 * last
    assert ours < 0.9 * best


def test_saved_in_mid_valley_and_resumed(tmp_path: Path) -> None:
    losses = [5.0, 3.0, 2.0, 2.1, 2.2, 2.0, 2.5, 4.0, 4.0, 4.0]
    values = []
    for stop in [None, 0.0, *range(1, 10), 4.5]:
        model = nn.Linear(1, 1)
        swad = SWAD(model, 2, 3)
        for i, loss in enumerate(losses):
            for half in (0.0, 0.5):
                if i + half == stop:
                    load_state(again := SWAD(model, 2, 3), save_state(swad, tmp_path / f"{stop}.safetensors"))
                    swad = again
                model.weight.data.fill_(i + half)
                model.bias.data.fill_(i - half)
                swad.update()
            over = swad.validated(loss)
        assert over
        swad.update()
        values.append(swad.value()["weight"].item())
    assert set(values) == {sum(i + half for i in range(2, 7) for half in (0.0, 0.5)) / 10}
    with pytest.raises(lw.errors.NamesDiffer, match="'bias'"):
        SWAD(nn.Linear(1, 1, bias=False), 2, 3).load_state_dict(swad.state_dict())
    with pytest.raises(lw.errors.BadParameter, match=r"ratio=1\.3"):
        SWAD(model, 2, 4).load_state_dict(swad.state_dict())


def test_a_tensor_that_leaves_is_forgotten_and_nan_takes_nothing_along() -> None:
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1))
    swad = SWAD(model, patience=1, tolerance=1)
    for w in (1.0, 3.0):
        model[0].weight.data.fill_(w)
        swad.update()
        swad.validated(1.0)
    model[0].weight.data.fill_(torch.nan)
    with pytest.raises(lw.errors.NonFinite, match=r"'0\.weight'"):
        swad.update()
    model[0].weight.data.fill_(5.0)
    swad.update()
    assert swad.value()["0.weight"].item() == 2.0
    del model[1]
    with pytest.raises(lw.errors.NamesDiffer, match=r"no longer has '1\.weight', '1\.bias'"):
        swad.value()
    swad.forget("1.weight", "1.bias")
    swad.validated(1.0)
    assert swad.value()["0.weight"].item() == 3.0
    with pytest.raises(lw.errors.NamesDiffer, match=r"does not hold '1\.bias'"):
        swad.forget("1.bias")


def test_bad_input() -> None:
    model = nn.Linear(1, 1)
    with pytest.raises(lw.errors.BadParameter, match=r"ratio is at least 1; found patience=3, tolerance=6, ratio=0\.3"):
        SWAD(model, ratio=0.3)
    swad = SWAD(model, patience=1, tolerance=1, ratio=1.0)
    with pytest.raises(lw.errors.BadParameter, match="no step was taken since the last validation"):
        swad.validated(1.0)
    swad.update()
    for loss in (-1.0, float("nan")):
        with pytest.raises(lw.errors.BadParameter, match=f"a validation loss is a finite number, at least 0.*found {loss}"):
            swad.validated(loss)
    with pytest.raises(lw.errors.TooFewSets, match="found no start after 0 validations"):
        swad.value()
    assert not swad.validated(1.0)
    swad.update()
    assert swad.validated(2.0)
    with pytest.raises(lw.errors.BadParameter, match="the valley ended at point 0"):
        swad.validated(2.0)
