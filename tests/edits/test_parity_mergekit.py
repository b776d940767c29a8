"""The same entries as mergekit 0.1.5 keeps, and its rescaling.

Frozen from `mergekit.sparsify.sparsify` of mergekit 0.1.5 with torch 2.13.0 (CPU, float32): methods `magnitude` and
`magnitude_outliers` with the parameters in each row, on the tensor below, whose magnitudes all differ. Its random methods
(`random`, `della_magprune`) draw from torch's generator, which ours do not; their factors are tested in test_random and
test_wrappers.
"""

import pytest
import torch

from loomweight.edits import DropBothEnds, Edit, KeepNorm, Trim

X = torch.tensor(
    [
        [-0.8, 0.401, 0.902, -1.397, 0.204],
        [0.805, 1.006, -0.693, -0.792, -1.191],
        [-0.09, 1.411, -2.088, 0.713, -1.286],
        [-1.385, -0.884, -0.583, -2.082, -0.381],
    ]
)

ROWS = [
    (Trim(0.3), [3, 11, 12, 14, 15, 18], 1.0, "magnitude, density 0.3"),
    (Trim(0.29), [3, 11, 12, 15, 18], 1.0, "magnitude, density 0.29: int(5.8) = 5"),
    (Trim(0.01), [12], 1.0, "magnitude, density 0.01: at least one"),
    (KeepNorm(Trim(0.3)), [3, 11, 12, 14, 15, 18], 2.764464 / 1.397, "magnitude, density 0.3, rescale_norm l1"),
    (DropBothEnds(0.5, 0.1), [0, 2, 3, 5, 6, 9, 11, 14, 15, 16], 1.0, "magnitude_outliers, density 0.5, gamma 0.1"),
    (DropBothEnds(0.5, 0.17), [0, 2, 3, 5, 6, 8, 9, 14, 15, 16], 1.0, "magnitude_outliers, density 0.5, gamma 0.17: int(3.4) = 3"),
    (DropBothEnds(0.9, 0.3), [i for i in range(20) if i not in (12, 18)], 1.0, "magnitude_outliers, density 0.9, gamma 0.3: only 2 can go"),
    (DropBothEnds(0.02, 0.1), [], 1.0, "magnitude_outliers, density 0.02, gamma 0.1: none"),
    (DropBothEnds(1.0, 0.1), list(range(20)), 1.0, "magnitude_outliers, density 1, gamma 0.1: all"),
    (KeepNorm(DropBothEnds(0.5, 0.1)), [0, 2, 3, 5, 6, 9, 11, 14, 15, 16], 1.380247 / 0.8, "magnitude_outliers, density 0.5, gamma 0.1, rescale_norm l1"),
]


@pytest.mark.parametrize(("edit", "places", "factor", "origin"), ROWS, ids=lambda value: value if isinstance(value, str) else "")
def test_it_keeps_what_mergekit_keeps(edit: Edit, places: list[int], factor: float, origin: str) -> None:
    kept = torch.zeros(20).index_fill(0, torch.tensor(places, dtype=torch.long), factor).reshape(4, 5)
    torch.testing.assert_close(edit.apply(X), X * kept, rtol=1e-6, atol=0)
