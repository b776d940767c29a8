"""What BOSHNAS is made of: noise that differs, steps by curvature, the nearest configuration."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from loomweight.errors import BadParameter
from loomweight.search import Choice, Float, Heteroscedastic, Int, Ordered, Space
from loomweight.search.predict.ascent import ascend, nearest
from loomweight.search.predict.predictor import Scale
from loomweight.search.predict.training import tensor

SPACE = Space(
    {"depth": Ordered((1, 2, 3)), "op": Choice(("conv", "pool", "skip")), "width": Ordered((8, 16, 64)), "n": Int(1, 9, log=True)},
    depends={"width": ("depth", (2, 3))},
)
CODES = [(values, SPACE.encode(values)) for values in SPACE.enumerate()]


def test_the_spread_follows_the_noise_of_the_labels() -> None:
    """Noise of 0.05 on the left and 1 on the right, which one spread for all rows cannot say."""
    draw = np.random.default_rng(0)
    x = draw.uniform(-1, 1, (300, 1))
    y = x[:, 0] + draw.normal(size=300) * np.where(x[:, 0] > 0, 1.0, 0.05)
    left, right = Heteroscedastic(steps=200, decay=0.1).fit(x, y).posterior([[-0.6], [0.6]]).spread
    assert left < 0.25 and 0.6 < right < 1.5


def test_the_whole_variance_is_noise_and_doubt() -> None:
    """Second formula: the variance of the even mixture of normals, from its first two moments."""
    draw = np.random.default_rng(1)
    x = draw.normal(size=(20, 3))
    mixture = Heteroscedastic(steps=20).trained(x, Scale.of(x[:, 0]).apply(x[:, 0]))
    rows = tensor(draw.normal(size=(7, 3)))
    means, variances = mixture.members(rows)
    mean, noise, doubt = mixture(rows)
    assert torch.allclose((variances + means**2).mean(0) - mean**2, noise + doubt, atol=1e-5)
    assert (doubt > 0).all()


def test_a_rate_of_one_is_newtons_step_on_a_bowl() -> None:
    """Without mixed derivatives |z * Hz| is the curvature for any signs z: one step leads to the top, however the axes are stretched."""
    stretch, top = torch.tensor([1.0, 100.0, 0.1]), torch.tensor([0.55, 0.45, 0.6])
    start = torch.full((1, 3), 0.5)
    end = ascend(lambda x: -(stretch * (x - top) ** 2).sum(1), start, torch.Generator().manual_seed(0), steps=1, rate=1.0)
    assert torch.allclose(end, top[None], atol=1e-3)


def test_steps_go_up_and_stay_inside() -> None:
    def hilly(x: Tensor) -> Tensor:
        return torch.sin(5 * x).sum(1) + x[:, 0] * x[:, 1]

    starts = torch.rand(32, 4, generator=torch.Generator().manual_seed(1))
    before = starts.clone()
    ends = ascend(hilly, starts, torch.Generator().manual_seed(2))
    assert (starts == before).all() and ((ends >= 0) & (ends <= 1)).all()
    gains = hilly(ends) - hilly(starts)
    assert (gains > -1e-3).float().mean() > 0.9 and gains.mean() > 1


def test_rows_do_not_see_each_other() -> None:
    def bowl(x: Tensor) -> Tensor:
        return -((x - 0.3) ** 2).sum(1)

    starts = torch.rand(4, 3, generator=torch.Generator().manual_seed(3))
    together = ascend(bowl, starts, torch.Generator().manual_seed(4))
    alone = torch.cat([ascend(bowl, row[None], torch.Generator().manual_seed(5)) for row in starts])
    assert torch.allclose(together, alone, atol=1e-4)


@given(st.lists(st.floats(-0.5, 1.5), min_size=6, max_size=6))
@settings(max_examples=20)
def test_the_nearest_configuration_is_the_nearest_of_all(point: list[float]) -> None:
    """Second formula: look at every configuration."""
    space = Space(SPACE.dimensions)
    inside = np.array([*point[:5], min(max(point[5], 0), 1)])
    gaps = [float(np.sum((space.encode(values) - inside) ** 2)) for values in space.enumerate()]
    assert np.sum((space.encode(nearest(space, np.array(point))) - inside) ** 2) == pytest.approx(min(gaps), abs=1e-6)  # float32 sums in another order


def test_fields_that_do_not_matter_have_their_one_value() -> None:
    assert nearest(SPACE, np.array([0.1, 1, 0, 0, 0.0, 0.0])) == {"depth": 1, "op": "conv", "width": 64, "n": 1}


@given(st.sampled_from([values for values, _ in CODES]))
def test_the_nearest_to_a_code_is_its_configuration(values: dict[str, object]) -> None:
    assert nearest(SPACE, SPACE.encode(values).astype(float)) == values


@given(st.floats(1e-4, 1.0))
def test_numbers_come_back(rate: float) -> None:
    space = Space({"rate": Float(1e-4, 1.0, log=True), "share": Float(0, 2)})
    found = nearest(space, space.encode({"rate": rate, "share": rate}).astype(float))
    assert found["rate"] == pytest.approx(rate, rel=1e-4) and found["share"] == pytest.approx(rate, abs=1e-6)  # float32 sums in another order


def test_bad_configurations() -> None:
    for wrong in (lambda: Heteroscedastic(()), lambda: Heteroscedastic(rate=0.0)):
        with pytest.raises(BadParameter, match="at least 1"):
            wrong()
