"""Products of rows: what they are worth, in parts, and where rows repeat."""

import pytest
import torch

from loomweight.align.pairs import EXACT, add_product


@pytest.mark.parametrize("deep", [4096, 50])
@pytest.mark.parametrize("shape", [(40, 30), (300, 170)], ids=["in float64", "in float32"])
def test_products_are_added_to_what_is_there(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], deep: int) -> None:
    monkeypatch.setattr("loomweight.align.pairs.DEEP", deep)
    monkeypatch.setattr("loomweight.align.pairs.TALL", 64)
    ours, theirs = (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    total = torch.ones(shape[0], shape[0], dtype=torch.float64)
    add_product(total, ours, theirs)
    exact = 1 + ours.double() @ theirs.double().T
    assert torch.allclose(total, exact, rtol=0, atol=1e-12 if ours.numel() <= EXACT else 1e-4)
    assert (ours.numel() <= EXACT) == (shape == (40, 30))


def test_rows_that_repeat_get_products_equal_bit_for_bit() -> None:
    """Left to a matrix product, sums of equal rows may be rounded apart."""
    base = torch.randn(61, 999, generator=torch.Generator().manual_seed(0))
    picks = torch.randint(0, 61, (200,), generator=torch.Generator().manual_seed(1))
    total = torch.zeros(200, 200, dtype=torch.float64)
    add_product(total, base[picks], base[picks.flip(0)])
    for source in range(61):
        places = (picks == source).nonzero()[:, 0]
        assert all(torch.equal(total[place], total[places[0]]) for place in places)
        assert all(torch.equal(total[:, 199 - place], total[:, 199 - places[0]]) for place in places)
