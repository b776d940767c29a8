"""The numbers that mergekit 0.1.5 gives, frozen: `mergekit-pytorch`, dtype float32, one tensor `w` a model; run on 2026-11-20."""

import pytest
import torch

from loomweight import Weights
from loomweight.rules import Rule, combine, karcher, model_stock, multislerp, nuslerp, slerp

A = [[2.0, 1.0, -1.0, 0.5], [0.25, -3.0, 1.0, 2.0]]
B = [[1.0, 2.0, 0.5, -0.5], [1.5, -2.0, -1.0, 1.0]]
C = [[1.5, -1.0, 2.0, 1.0], [0.5, -1.0, 0.5, 3.0]]
Z = [[1.0, 0.5, 0.25, 0.0], [0.5, -1.5, 0.0, 1.0]]
NEAR_A = [[2.002, 1.001, -0.999, 0.5], [0.25, -3.001, 1.002, 1.999]]
BASE = Weights.of({"w": torch.tensor(Z)})

# (rule, sets, mergekit's configuration, mergekit's numbers)
ROWS: list[tuple[Rule, list, str, list]] = [
    (
        slerp(0.3, straight=0.9995),
        [A, B],
        "slerp, base A, t 0.3",
        [[1.8384497, 1.4273291, -0.5804887, 0.2055603], [0.6955684, -2.9270427, 0.4111206, 1.8384497]],
    ),
    (
        slerp(0.5, straight=0.9995),
        [A, NEAR_A],
        "slerp, base A, t 0.5",
        [[2.0009999, 1.0005, -0.9995, 0.5], [0.25, -3.0005, 1.0009999, 1.9995]],
    ),
    (
        nuslerp((1.0, 3.0)),
        [A, B],
        "nuslerp, weights 1, 3",
        [[1.3622764, 1.8746768, 0.1145543, -0.2562003], [1.2643617, -2.4412608, -0.5124005, 1.3622764]],
    ),
    (
        nuslerp((1.0, 3.0), base=BASE),
        [A, B],
        "nuslerp, base Z, weights 1, 3",
        [[1.3953154, 2.1069312, -0.0092653, -0.2721001], [1.3406868, -2.5627308, -0.5442002, 1.3953154]],
    ),
    (
        nuslerp((1.0, 3.0), flatten=False),
        [A, B],
        "nuslerp, weights 1, 3, nuslerp_flatten false",
        [[1.3926196, 1.9081154, 0.1115606, -0.2577479], [1.2526983, -2.412045, -0.5106033, 1.3451062]],
    ),
    (
        nuslerp((1.0, 3.0), flatten=False, columns=True),
        [A, B],
        "nuslerp, weights 1, 3, nuslerp_flatten false, nuslerp_row_wise true",
        [[1.355924, 1.7825763, -0.6963428, -0.2539751], [1.2600502, -2.2997901, -0.6564804, 1.3203366]],
    ),
    (
        multislerp((1.0, 2.0, 1.0)),
        [A, B, C],
        "multislerp, weights 1, 2, 1",
        [[1.637169, 1.3171674, 0.6276144, 0.0889065], [1.2067364, -2.432363, -0.2487526, 2.0637345]],
    ),
    (
        multislerp((1.0, 2.0, 1.0), base=BASE),
        [A, B, C],
        "multislerp, base Z, weights 1, 2, 1",
        [[1.6702007, 1.9225173, 0.6296977, 0.0373913], [1.5593098, -2.6087203, -0.5080868, 2.2530701]],
    ),
    (
        multislerp((1.0, 2.0, 1.0), normalize=False),
        [A, B, C],
        "multislerp, weights 1, 2, 1, normalize_weights false",
        [[6.5486755, 5.2686696, 2.5104573, 0.3556263], [4.8269444, -9.7294493, -0.9950102, 8.2549362]],
    ),
    (
        karcher(),
        [A, B, C],
        "karcher, max_iter 100, tol 1e-9",
        [[1.812555, 0.8958794, 0.66796, 0.3574121], [0.9908016, -2.4462314, 0.1092698, 2.4181094]],
    ),
    (
        karcher(iterations=10, tolerance=1e-5),
        [A, B, C],
        "karcher",
        [[1.8125579, 0.8958783, 0.6679462, 0.3574147], [0.9907944, -2.4462364, 0.1092793, 2.4181082]],
    ),
    (
        model_stock(BASE, extrapolate=True),
        [A, B, C],
        "model_stock, base Z",
        [[0.6328897, 0.3776299, 0.0664449, -0.2447401], [0.3164449, -1.1328896, -0.1223701, 0.2657796]],
    ),
    (
        model_stock(BASE, extrapolate=True),
        [A, B],
        "model_stock, base Z",
        [[0.9446416, 0.3892832, 0.3053584, 0.0], [0.4584812, -1.3892832, 0.0, 0.9446416]],
    ),
    (
        model_stock(BASE, by="row", extrapolate=True),
        [A, B, C],
        "model_stock, base Z, filter_wise true",
        [[-0.220813, 0.0930623, -0.3604065, -0.8138754], [0.5002589, -1.5005178, 0.0001726, 1.0010356]],
    ),
]


@pytest.mark.parametrize(("rule", "sets", "configuration", "expected"), ROWS, ids=[f"{row[2]}, {len(row[1])} models" for row in ROWS])
def test_the_numbers_are_mergekits(rule: Rule, sets: list, configuration: str, expected: list) -> None:
    out = combine([{"w": torch.tensor(w)} for w in sets], rule)["w"]
    torch.testing.assert_close(out, torch.tensor(expected), rtol=2e-6, atol=2e-6)


def test_where_we_differ_angles_of_more_than_90_degrees_do_not_push_beyond_the_base() -> None:
    out = combine([{"w": torch.tensor(w)} for w in (A, B, C)], model_stock(BASE))["w"]
    assert torch.equal(out, torch.tensor(Z))


def test_where_we_differ_nearly_equal_directions_are_still_slerped() -> None:
    """mergekit takes the straight line above cos 0.9995: between sets of equal length it cuts the corner, which slerp does not."""
    a = torch.tensor([1.0, 0.02, 0, 0], dtype=torch.float64)
    b = torch.tensor([1.0, 0, 0.02, 0], dtype=torch.float64)
    ours, straight = (combine([{"w": a}, {"w": b}], slerp(0.5, straight))["w"].norm() / a.norm() for straight in (1.0, 0.9995))
    assert abs(float(ours) - 1) < 1e-12
    assert float(straight) < 1 - 5e-5
